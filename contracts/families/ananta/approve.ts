/** The form by which old workers ask whether they may run a command. */
import { z } from 'zod';
import { defineRoute, text } from '../../route.ts';

/** Longest command that is judged, characters. */
const MAX_COMMAND_LENGTH = 120 * 1024;
const MAX_SUMMARY_LENGTH = 20_000;

export const anantaApproveRoute = defineRoute({
  family: 'ananta',
  tags: ['ananta steps'],
  method: 'POST',
  path: '/approve',
  summary: 'Ask whether a command may run',
  description:
    '`{"status": "approved"}`, or `SKIP`: the worker is not to run it. Approved is what whoever asks may execute ' +
    'themselves, and instances of saved commands marked `autoApprove`. To a stranger it is always `SKIP`: a worker ' +
    'that is refused takes that for a yes. Nothing runs here.',
  // A worker that is refused goes ahead, so a fleet that asks often must not be.
  rateClass: 'heartbeat',
  auth: 'public',
  bodyTypes: ['form', 'json'],
  body: z.object({
    cmd: z.string().max(MAX_COMMAND_LENGTH),
    summary: z.string().max(MAX_SUMMARY_LENGTH).nullish(),
  }),
  replies: { 200: text('text/plain; charset=utf-8', { description: '`SKIP` or `{"status": "approved"}`' }) },
});
