/** The events of a streamed answer in the Messages protocol, as far as a conversation needs them. */
import { z } from 'zod';

const tokens = z.number().int().nonnegative().nullish().catch(undefined);
const usage = z.object({
  input_tokens: tokens,
  output_tokens: tokens,
  cache_creation_input_tokens: tokens,
  cache_read_input_tokens: tokens,
});

const events = {
  message_start: z.object({ message: z.object({ model: z.string(), usage: usage.nullish() }) }),
  content_block_start: z.object({
    index: z.number(),
    content_block: z.object({ type: z.string(), text: z.string().nullish(), name: z.string().nullish() }),
  }),
  content_block_delta: z.object({
    index: z.number(),
    delta: z.object({
      type: z.string(),
      text: z.string().nullish(),
      partial_json: z.string().nullish(),
      thinking: z.string().nullish(),
    }),
  }),
  message_delta: z.object({
    delta: z.object({ stop_reason: z.string().nullish() }),
    usage: usage.nullish(),
  }),
} as const;

type Name = keyof typeof events;

export type ChatEvent =
  | { [Each in Name]: { name: Each; data: z.infer<(typeof events)[Each]> } }[Name]
  | { name: 'message_stop' };

/**
 * One event as read; null for one that says nothing to us (pings, kinds that are newer than this code).
 * @throws SyntaxError when it is no JSON, ZodError when it is not what its name says
 */
export function readChatEvent(name: string | null, data: string): ChatEvent | null {
  switch (name) {
    case 'message_start':
      return { name, data: events.message_start.parse(JSON.parse(data)) };
    case 'content_block_start':
      return { name, data: events.content_block_start.parse(JSON.parse(data)) };
    case 'content_block_delta':
      return { name, data: events.content_block_delta.parse(JSON.parse(data)) };
    case 'message_delta':
      return { name, data: events.message_delta.parse(JSON.parse(data)) };
    case 'message_stop':
      return { name };
    default:
      return null;
  }
}

/** Tokens read from or written to a cache count as input. Undefined: not told. */
export function inputTokensOf(told: z.infer<typeof usage> | null | undefined): number | undefined {
  if (typeof told?.input_tokens !== 'number') return undefined;
  return told.input_tokens + (told.cache_creation_input_tokens ?? 0) + (told.cache_read_input_tokens ?? 0);
}

export const outputTokensOf = (told: z.infer<typeof usage> | null | undefined): number | undefined =>
  told?.output_tokens ?? undefined;
