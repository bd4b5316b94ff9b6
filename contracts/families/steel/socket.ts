/** The frames of `/ws`: JSON texts in both directions. Each message of the client is echoed; a subscription is beyond that. */
import { z } from 'zod';
import { steelEventSchema } from './events.ts';
import { steelTimeSchema } from './time.ts';

/** Largest frame of a client, bytes. A larger one closes with 1009. */
export const MAX_STEEL_FRAME_BYTES = 64 * 1024;
/** Frames that a client may send in a window; above, its socket is closed with 1008. */
export const MAX_STEEL_FRAMES_IN_WINDOW = 6_000;
export const STEEL_FRAME_WINDOW_MS = 60_000;

/** Close codes of the server. A client that does not read is cut off without one. */
export const steelCloseCodes = {
  goingAway: 1001,
  /** No credential, or not a good one (any more); too many sockets or frames. */
  policy: 1008,
  /** A binary frame came, or something went wrong here. */
  internalError: 1011,
} as const;

/** What can be followed: events of tasks (`task.*`), of commands and their batches (`command.*`, `batch.*`). */
export const steelTopics = ['tasks', 'commands'] as const;
export type SteelTopic = (typeof steelTopics)[number];

/** The topics that the socket follows from now on, in place of those before; none ends it. */
export const steelSubscribeFrameSchema = z.object({
  type: z.literal('subscribe'),
  topics: z.array(z.enum(steelTopics)).max(16),
});

const said = { timestamp: steelTimeSchema, user: z.string() };

/** What the client is sent; the members in the order in which they are written. */
export const steelServerFrameSchema = z.discriminatedUnion('type', [
  z.object({
    type: z.literal('connection'),
    status: z.literal('connected'),
    user: z.string(),
    timestamp: steelTimeSchema,
  }),
  z.object({ type: z.literal('message'), data: z.record(z.string(), z.unknown()), ...said }),
  z.object({ type: z.literal('error'), message: z.string() }),
  z.object({ type: z.literal('subscribed'), topics: z.array(z.enum(steelTopics)), ...said }),
  z.object({ type: z.literal('event'), topic: z.enum(steelTopics), data: steelEventSchema }),
]);
export type SteelServerFrame = z.infer<typeof steelServerFrameSchema>;

/** Words of the error frames. */
export const steelFrameErrors = {
  notJson: 'Invalid JSON format',
  notAnObject: 'Invalid message format: must be JSON object',
  unknownTopic: `Invalid topics: must be a list of ${steelTopics.join(', ')}`,
} as const;
