/** Clients of event streams for tests: server-sent events by fetch, frames by WebSocket. */
import { WebSocket } from 'ws';

/** A wait in a test that takes longer has failed, milliseconds. */
const WAIT_DEADLINE_MS = 15_000;

export interface SseEvent {
  id: string | undefined;
  event: string | undefined;
  data: unknown;
}

export interface SseClient {
  response: Response;
  /** All events so far, oldest first. */
  events: SseEvent[];
  /** Resolves with the events once they satisfy; rejects at the deadline. */
  until(isEnough: (events: readonly SseEvent[]) => boolean): Promise<SseEvent[]>;
  /** Resolves when the server has ended the stream. */
  ended: Promise<void>;
  close(): void;
}

/** Opens a stream; `response` tells whether it was opened. */
export async function openSse(url: string, headers: Record<string, string>): Promise<SseClient> {
  const abort = new AbortController();
  const response = await fetch(url, { headers, signal: abort.signal });
  const events: SseEvent[] = [];
  const changed = createNotice();
  const isStream = response.headers.get('Content-Type')?.startsWith('text/event-stream') ?? false;
  const ended = (async () => {
    if (!isStream || response.body === null) return;
    let text = '';
    const decoder = new TextDecoder();
    try {
      for await (const chunk of response.body) {
        text += decoder.decode(chunk, { stream: true });
        const frames = text.split('\n\n');
        text = frames.pop() ?? '';
        events.push(...frames.flatMap(parseFrame));
        changed.tell();
      }
    } catch {
      // Cut off, or closed by the test.
    }
    changed.tell();
  })();
  return {
    response,
    events,
    async until(isEnough) {
      await changed.wait(
        () => isEnough(events),
        () => JSON.stringify(events).slice(0, 2_000),
      );
      return events;
    },
    ended,
    close: () => abort.abort(),
  };
}

function parseFrame(frame: string): SseEvent[] {
  const fields = new Map<string, string>();
  for (const line of frame.split('\n')) {
    const at = line.indexOf(': ');
    if (at > 0) fields.set(line.slice(0, at), line.slice(at + 2));
  }
  const data = fields.get('data');
  if (data === undefined) return []; // a comment
  return [{ id: fields.get('id'), event: fields.get('event'), data: JSON.parse(data) }];
}

export interface SocketClient {
  socket: WebSocket;
  frames: unknown[];
  until(isEnough: (frames: readonly unknown[]) => boolean): Promise<unknown[]>;
  /** Close code, once closed. */
  closed: Promise<number>;
}

/** @throws with the HTTP status when the upgrade is refused */
export async function openSocket(url: string, headers: Record<string, string> = {}): Promise<SocketClient> {
  const socket = new WebSocket(url.replace(/^http/, 'ws'), { headers });
  const frames: unknown[] = [];
  const changed = createNotice();
  const closed = new Promise<number>((resolve) => {
    socket.on('close', (code) => {
      resolve(code);
      changed.tell();
    });
  });
  socket.on('message', (bytes) => {
    frames.push(JSON.parse(String(bytes)));
    changed.tell();
  });
  await new Promise<void>((resolve, reject) => {
    socket.once('open', resolve);
    socket.once('unexpected-response', (request, response) => {
      reject(new Error(`HTTP ${response.statusCode}`));
      response.resume();
      request.destroy();
    });
    socket.on('error', reject);
  });
  return {
    socket,
    frames,
    async until(isEnough) {
      await changed.wait(
        () => isEnough(frames),
        () => JSON.stringify(frames).slice(0, 2_000),
      );
      return frames;
    },
    closed,
  };
}

/** Lets waiters look again whenever something has changed. */
function createNotice() {
  const waiters = new Set<() => void>();
  return {
    tell: () => {
      for (const look of [...waiters]) look();
    },
    wait(isTrue: () => boolean, describe: () => string): Promise<void> {
      return new Promise((resolve, reject) => {
        const finish = (settle: () => void): void => {
          waiters.delete(look);
          clearTimeout(deadline);
          settle();
        };
        const look = (): void => {
          if (isTrue()) finish(resolve);
        };
        const deadline = setTimeout(() => {
          finish(() => reject(new Error(`waited ${WAIT_DEADLINE_MS} ms in vain; so far: ${describe()}`)));
        }, WAIT_DEADLINE_MS);
        waiters.add(look);
        look();
      });
    },
  };
}
