/** The house routes of events: the same stream by server-sent events and by WebSocket. */
import { z } from 'zod';
import { eventSchema, eventTypes } from './events.ts';
import { defineRoute, events } from './route.ts';
import { resumeQuery } from './shared.ts';
import { taskIdSchema } from './task-routes.ts';

const typeSchema = z.enum(eventTypes);

/** Filters of both transports. A parameter given several times is a list. */
export const eventQuerySchema = z.strictObject({
  ...resumeQuery,
  taskId: taskIdSchema.optional().meta({ description: 'Only events of this task and its commands' }),
  type: z
    .union([typeSchema, z.array(typeSchema).max(eventTypes.length)])
    .optional()
    .meta({ description: 'Only events of these types' }),
});
export type EventQuery = z.infer<typeof eventQuerySchema>;

/** What a WebSocket client is sent; it sends nothing. */
export const eventFrameSchema = z.discriminatedUnion('type', [
  z.object({ type: z.literal('ready'), cursor: z.string() }),
  z.object({ type: z.literal('event'), event: eventSchema }),
]);
export type EventFrame = z.infer<typeof eventFrameSchema>;

/** Close codes of event sockets. A client that does not read is cut off without one. */
export const eventCloseCodes = {
  goingAway: 1001,
  /** A binary frame came. */
  unsupportedData: 1003,
  /** No credential, or not a good one (any more). */
  policy: 1008,
  /** Something went wrong here; connect again. */
  internalError: 1011,
  /** Too much happened while the client was behind: resume with the last id. */
  tryAgain: 1013,
} as const;

export const streamEventsRoute = defineRoute({
  family: 'house',
  tags: ['events'],
  auth: 'user',
  resource: 'event',
  method: 'GET',
  path: '/v1/events',
  summary: 'Follow events as they commit',
  description:
    'Server-sent events: first `event: ready` with a cursor, then one unnamed event each. Give the last id back as ' +
    'Last-Event-ID (or `lastEventId`): events may then be repeated, none is left out. Events are kept 7 days; an ' +
    'older cursor goes on at the oldest. A cursor that was never given out is refused (`invalid_cursor`). Whoever ' +
    'may not see all events is shown those of their own tasks and commands. A client that is 1 MiB behind is cut ' +
    'off and resumes. The same by WebSocket: `ready` and `event` frames. Browsers put a one-time ticket of ' +
    '`POST /v1/auth/tickets` in `ticket`; a token may stand in `token`.',
  rateClass: 'read',
  verb: 'list',
  query: eventQuerySchema,
  replies: { 200: events(eventSchema) },
  errors: ['invalid_cursor', 'task_not_found'],
});
