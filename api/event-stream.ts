import { once } from 'node:events';
import { PassThrough } from 'node:stream';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { EventStream } from '../contracts/route.ts';
import type { AppContext } from './context.ts';

/** Silence after which a comment keeps proxies from closing the stream, and interval of the comments in it. */
export const DEFAULT_KEEP_ALIVE_MS = 15_000;

/** A client this far behind is dropped; it resumes with `Last-Event-ID` when it can read again. */
export const MAX_BUFFERED_BYTES = 1024 * 1024;

/** With no more than this waiting, a stream counts as drained. */
const DRAINED_BYTES = 64 * 1024;

interface EventStreamOptions {
  keepAliveMs?: number;
  /** Text of the keep-alive comment; clients of each family know their own. */
  keepAliveText?: string;
  /** Ends the stream from our side (shutdown). */
  signal?: AbortSignal;
}

/**
 * Answers with server-sent events. The stream ends by `close()`, by the client, by the signal, or when more
 * than `MAX_BUFFERED_BYTES` wait for the client.
 *
 * Framing: `id`, `event`, `data` lines with LF, one empty line at the end (HTML standard, section 9.2).
 */
export function openEventStream(ctx: AppContext, options: EventStreamOptions = {}): EventStream {
  const { keepAliveMs = DEFAULT_KEEP_ALIVE_MS, keepAliveText = 'keep-alive', signal } = options;
  const output = new PassThrough({ highWaterMark: MAX_BUFFERED_BYTES });
  const closing = new AbortController();

  ctx.status = 200;
  ctx.set({
    'Content-Type': 'text/event-stream; charset=utf-8',
    'Cache-Control': 'no-cache, no-transform',
    'X-Accel-Buffering': 'no',
  });
  ctx.compress = false;
  ctx.body = output;
  ctx.flushHeaders();

  function write(text: string): void {
    if (closing.signal.aborted) return;
    output.write(text);
    if (waitingBytes() > MAX_BUFFERED_BYTES) drop();
  }

  function waitingBytes(): number {
    return output.readableLength + output.writableLength + ctx.res.writableLength;
  }

  async function drained(): Promise<void> {
    while (!closing.signal.aborted && waitingBytes() > DRAINED_BYTES) {
      // Either the socket is full and says when it is not, or Koa is about to move what waits here.
      if (ctx.res.writableNeedDrain) {
        await once(ctx.res, 'drain', { signal: closing.signal }).catch(() => undefined);
      } else {
        await nextTurn();
      }
    }
  }

  /** The client does not read: waiting for the buffer to leave would hold it for ever. */
  function drop(): void {
    close();
    ctx.res.destroy();
  }

  function close(): void {
    if (closing.signal.aborted) return;
    clearInterval(keepAlive);
    signal?.removeEventListener('abort', close);
    output.end();
    closing.abort();
  }

  const keepAlive = setInterval(() => write(`: ${keepAliveText}\n\n`), keepAliveMs);
  void ctx.state.ended.then(close);
  signal?.addEventListener('abort', close);
  if (signal?.aborted) close();

  return {
    send({ id, event, data }) {
      write(frame({ id, event, data }));
      if (!closing.signal.aborted) keepAlive.refresh();
    },
    comment: (text) => write(`: ${singleLine(text)}\n\n`),
    drained,
    close,
    closed: closing.signal,
  };
}

function frame({
  id,
  event,
  data,
}: {
  id: string | undefined;
  event: string | undefined;
  data: unknown;
}): string {
  const text = typeof data === 'string' ? data : JSON.stringify(data);
  const lines = text.split(/\r\n|\r|\n/).map((line) => `data: ${line}\n`);
  const head =
    (id === undefined ? '' : `id: ${singleLine(id)}\n`) +
    (event === undefined ? '' : `event: ${singleLine(event)}\n`);
  return `${head}${lines.join('')}\n`;
}

/** A line break would end the field and start one of the writer's choosing. */
function singleLine(text: string): string {
  return text.replaceAll(/[\r\n\0]/g, ' ');
}
