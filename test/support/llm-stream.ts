/**
 * Synthetic answers in the streaming form of the Messages protocol, written from its public description, not recorded:
 * `message_start`, content blocks with deltas, `message_delta`, `message_stop`, and pings and errors between them.
 */
import { once } from 'node:events';
import type { ServerResponse } from 'node:http';

export type StreamStep =
  /** A text delta. */
  | string
  | { thinking: string }
  | { ping: true }
  /** A whole tool call: start, its input as JSON in two deltas, stop. */
  | { tool: string; input: unknown }
  /** A tool call with this text for its input. */
  | { tool: string; json: string }
  /** Wait for this before the next step. */
  | { until: () => Promise<unknown> }
  /** Any event. */
  | { event: string; data: unknown }
  /** Any bytes. */
  | { bytes: Buffer | string }
  /** An `error` event of this kind; the body ends. */
  | { error: string; message?: string }
  /** Nothing more, and the connection stays open. */
  | { stall: true }
  /** The body ends here, as if the answer were whole. */
  | { breakOff: true }
  /** The connection is reset. */
  | { reset: true };

export interface StreamScript {
  steps: readonly StreamStep[];
  /** Told in `message_start` and `message_delta`. Default 100 and 20. */
  usage?: { input: number; output: number };
  /** Default `end_turn`, after a tool call `tool_use`. */
  stopReason?: string;
  /** Write the body in chunks of this many bytes: 1 splits every character that has more. */
  chunkBytes?: number;
}

/** Writes the answer; resolves when it is written, or when the client has gone. */
export async function writeStream(
  response: ServerResponse,
  model: string,
  script: StreamScript,
): Promise<void> {
  const { steps, usage = { input: 100, output: 20 }, chunkBytes } = script;
  const send = async (bytes: Buffer | string): Promise<void> => {
    const whole = Buffer.from(bytes as Buffer);
    const size = chunkBytes ?? whole.length;
    for (let at = 0; at < whole.length && !response.destroyed; at += size) {
      const hasRoom = response.write(whole.subarray(at, at + size));
      if (!hasRoom) await Promise.race([once(response, 'drain'), once(response, 'close')]);
    }
  };
  const event = (name: string, data: object): Promise<void> =>
    send(`event: ${name}\ndata: ${JSON.stringify({ type: name, ...data })}\n\n`);

  response.socket?.setNoDelay(true);
  response.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8', 'request-id': 'req_stub' });
  response.flushHeaders();
  await event('message_start', {
    message: {
      id: 'msg_stub',
      type: 'message',
      role: 'assistant',
      model,
      content: [],
      stop_reason: null,
      stop_sequence: null,
      usage: { input_tokens: usage.input, output_tokens: 1 },
    },
  });

  let index = -1;
  let openKind: string | undefined;
  let hasCalled = false;
  const open = async (kind: string, block: object): Promise<void> => {
    if (openKind === kind) return;
    await close();
    openKind = kind;
    index += 1;
    await event('content_block_start', { index, content_block: { type: kind, ...block } });
  };
  const close = async (): Promise<void> => {
    if (openKind === undefined) return;
    openKind = undefined;
    await event('content_block_stop', { index });
  };
  const delta = (data: object): Promise<void> => event('content_block_delta', { index, delta: data });

  for (const step of steps) {
    if (response.destroyed) return;
    if (typeof step === 'string') {
      await open('text', { text: '' });
      await delta({ type: 'text_delta', text: step });
    } else if ('thinking' in step) {
      await open('thinking', { thinking: '', signature: '' });
      await delta({ type: 'thinking_delta', thinking: step.thinking });
    } else if ('ping' in step) {
      await event('ping', {});
    } else if ('tool' in step) {
      const json = 'json' in step ? step.json : JSON.stringify(step.input);
      const middle = Math.floor(json.length / 2);
      hasCalled = true;
      await close();
      await open('tool_use', { id: `toolu_stub_${index + 1}`, name: step.tool, input: {} });
      for (const part of [json.slice(0, middle), json.slice(middle)]) {
        await delta({ type: 'input_json_delta', partial_json: part });
      }
      await close();
    } else if ('until' in step) {
      await step.until();
    } else if ('event' in step) {
      await send(`event: ${step.event}\ndata: ${JSON.stringify(step.data)}\n\n`);
    } else if ('bytes' in step) {
      await send(step.bytes);
    } else if ('error' in step) {
      await event('error', { error: { type: step.error, message: step.message ?? 'scripted' } });
      response.end();
      return;
    } else if ('stall' in step) {
      return;
    } else if ('breakOff' in step) {
      response.end();
      return;
    } else {
      response.socket?.resetAndDestroy();
      return;
    }
  }
  await close();
  const stopReason = script.stopReason ?? (hasCalled ? 'tool_use' : 'end_turn');
  await event('message_delta', {
    delta: { stop_reason: stopReason, stop_sequence: null },
    usage: { output_tokens: usage.output },
  });
  await event('message_stop', {});
  response.end();
}
