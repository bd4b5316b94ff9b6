/** Clients of event streams for tests: server-sent events by HTTP, frames by WebSocket. */
import http from 'node:http';
import { WebSocket } from 'ws';

/** A wait in a test that takes longer has failed, milliseconds. */
const WAIT_DEADLINE_MS = 15_000;

export interface SseEvent {
  id: string | undefined;
  event: string | undefined;
  data: unknown;
}

export interface SseClient {
  response: { status: number; headers: Headers };
  /** All events so far, oldest first. */
  events: SseEvent[];
  /** Resolves with the events once they satisfy; rejects at the deadline. */
  until(isEnough: (events: readonly SseEvent[]) => boolean): Promise<SseEvent[]>;
  /** Resolves when the server has ended the stream. */
  ended: Promise<void>;
  close(): void;
}

/**
 * Opens a stream; `response` tells whether it was opened.
 * By node:http on a connection of its own: aborting a `fetch` whose body has ended can cut a connection that another
 * request has taken over by then.
 */
export async function openSse(url: string, headers: Record<string, string>): Promise<SseClient> {
  const events: SseEvent[] = [];
  const changed = createNotice();
  const request = http.get(url, { headers, agent: false });
  const message = await new Promise<http.IncomingMessage>((resolve, reject) => {
    request.once('response', resolve);
    request.once('error', reject);
  });
  request.on('error', () => undefined);
  const isStream = message.headers['content-type']?.startsWith('text/event-stream') ?? false;
  const ended = (async () => {
    let text = '';
    message.setEncoding('utf8');
    try {
      for await (const chunk of message) {
        if (!isStream) continue;
        text += chunk;
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
    response: { status: message.statusCode ?? 0, headers: headersOf(message) },
    events,
    async until(isEnough) {
      await changed.wait(
        () => isEnough(events),
        () => JSON.stringify(events).slice(0, 2_000),
      );
      return events;
    },
    ended,
    close: () => request.destroy(),
  };
}

function headersOf({ headers }: http.IncomingMessage): Headers {
  const pairs = Object.entries(headers).map(([name, value]): [string, string] => [name, String(value)]);
  return new Headers(pairs);
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
