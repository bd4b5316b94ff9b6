/** The house routes of rollouts; the shapes are in `rollouts.ts`. */
import { z } from 'zod';
import {
  approveBatchBodySchema,
  cancelRolloutBodySchema,
  createRolloutBodySchema,
  rerunRolloutBodySchema,
  rolloutBatchPageSchema,
  rolloutListQuerySchema,
  rolloutPageSchema,
  rolloutSchema,
  rolloutTargetPageSchema,
  rolloutTargetQuerySchema,
} from './rollouts.ts';
import { defineRoute, json } from './route.ts';
import { pageQuery } from './shared.ts';

const shared = { family: 'house', tags: ['rollouts'], auth: 'user', resource: 'rollout' } as const;
const params = z.object({ rolloutId: z.uuid() });
const made = {
  201: json(rolloutSchema, { headers: { Location: 'Path of the rollout' } }),
  200: json(rolloutSchema, { description: 'Made by an earlier request' }),
};

export const listRolloutsRoute = defineRoute({
  ...shared,
  method: 'GET',
  path: '/v1/rollouts',
  summary: 'List rollouts, newest first',
  rateClass: 'read',
  verb: 'list',
  query: rolloutListQuerySchema,
  replies: { 200: rolloutPageSchema },
  errors: ['invalid_cursor'],
});

export const createRolloutRoute = defineRoute({
  ...shared,
  method: 'POST',
  path: '/v1/rollouts',
  summary: 'Run an act or a saved command on many agents, batch after batch',
  description:
    'Also takes the right to run commands. Targets and acts are fixed now: an agent that gets a tag later is no target, ' +
    'and a saved command that changes later runs as it is now. Every target gets at most one command. Agents whose ' +
    'shells differ get one act for each shell.',
  takesIdempotencyKey: true,
  rateClass: 'write',
  verb: 'create',
  body: createRolloutBodySchema,
  replies: made,
  errors: [
    'agent_not_found',
    'agent_revoked',
    'conflict',
    'idempotency_conflict',
    'not_found',
    'saved_command_not_found',
  ],
});

export const getRolloutRoute = defineRoute({
  ...shared,
  method: 'GET',
  path: '/v1/rollouts/{rolloutId}',
  summary: 'Read a rollout',
  rateClass: 'read',
  verb: 'read',
  params,
  replies: { 200: rolloutSchema },
  errors: ['rollout_not_found'],
});

export const listRolloutTargetsRoute = defineRoute({
  ...shared,
  method: 'GET',
  path: '/v1/rollouts/{rolloutId}/targets',
  summary: 'List the targets of a rollout and how each ended, in the order of their turn',
  rateClass: 'read',
  verb: 'read',
  params,
  query: rolloutTargetQuerySchema,
  replies: { 200: rolloutTargetPageSchema },
  errors: ['rollout_not_found', 'invalid_cursor'],
});

export const listRolloutBatchesRoute = defineRoute({
  ...shared,
  method: 'GET',
  path: '/v1/rollouts/{rolloutId}/batches',
  summary: 'List the batches of a rollout, in the order of their turn',
  rateClass: 'read',
  verb: 'read',
  params,
  query: z.strictObject(pageQuery),
  replies: { 200: rolloutBatchPageSchema },
  errors: ['rollout_not_found', 'invalid_cursor'],
});

const act = { ...shared, method: 'POST', takesIdempotencyKey: true, rateClass: 'write', params } as const;
const actErrors = ['rollout_not_found', 'rollout_not_open', 'idempotency_conflict'] as const;

export const pauseRolloutRoute = defineRoute({
  ...act,
  path: '/v1/rollouts/{rolloutId}/pause',
  summary: 'Hold a rollout: no further batch begins',
  description: 'A batch that is out goes on to its end. Pausing again changes nothing.',
  verb: 'update',
  replies: { 200: rolloutSchema },
  errors: [...actErrors],
});

export const resumeRolloutRoute = defineRoute({
  ...act,
  path: '/v1/rollouts/{rolloutId}/resume',
  summary: 'Let a rollout go on',
  verb: 'update',
  replies: { 200: rolloutSchema },
  errors: [...actErrors],
});

export const approveRolloutRoute = defineRoute({
  ...act,
  path: '/v1/rollouts/{rolloutId}/approve',
  summary: 'Approve the next batch',
  description:
    'Names the batch and its digest as they were read. The same approval by the same principal again is the same answer; ' +
    'one that comes too early, too late or for another batch is refused.',
  verb: 'decide',
  body: approveBatchBodySchema,
  replies: { 200: rolloutSchema },
  errors: [...actErrors, 'stale_digest', 'conflict'],
});

export const cancelRolloutRoute = defineRoute({
  ...act,
  path: '/v1/rollouts/{rolloutId}/cancel',
  summary: 'Cancel a rollout',
  description:
    'Queued commands end now; running ones are told to stop, and the rollout ends when they have. Canceling again is the ' +
    'same answer.',
  verb: 'cancel',
  body: cancelRolloutBodySchema.prefault({}),
  replies: { 200: rolloutSchema },
  errors: [...actErrors],
});

export const rerunRolloutRoute = defineRoute({
  ...act,
  path: '/v1/rollouts/{rolloutId}/rerun',
  summary: 'Make a new rollout over those targets of an ended one that failed',
  description:
    'The same acts by the same plan. Agents that were revoked meanwhile are left out. Also takes the right to run commands.',
  verb: 'create',
  body: rerunRolloutBodySchema.prefault({}),
  replies: made,
  errors: ['rollout_not_found', 'not_found', 'idempotency_conflict', 'conflict'],
});
