/**
 * LISTEN on a connection of its own, with heartbeat and reconnect.
 *
 *  A. A notification is an edge, never the truth: after every (re)connect `onReconnect` runs, and the listener's owner
 *     looks at the rows.
 *  B. A connection that does not answer its heartbeat is dropped and made anew: a half-open socket is silent for ever.
 */
import pg from 'pg';

const HEARTBEAT_INTERVAL_MS = 10_000;
const HEARTBEAT_DEADLINE_MS = 5_000;
const FIRST_RETRY_MS = 100;
const MAX_RETRY_MS = 5_000;
const CONNECT_TIMEOUT_MS = 5_000;

export interface ListenerOptions {
  url: string;
  channels: readonly string[];
  onNotify(channel: string, payload: string): void;
  /** After the first connect and after each later one. */
  onReconnect(): void;
  onError(error: unknown): void;
}

export interface Listener {
  /** Resolves when the first LISTEN is in force. */
  ready: Promise<void>;
  /** Stop for good; safe to call again. */
  close(): Promise<void>;
}

export function createListener(options: ListenerOptions): Listener {
  let client: pg.Client | undefined;
  let closed = false;
  let retryMs = FIRST_RETRY_MS;
  let timer: NodeJS.Timeout | undefined;
  let markReady: () => void = () => {};
  const ready = new Promise<void>((resolve) => {
    markReady = resolve;
  });

  const drop = (dead: pg.Client, error: unknown): void => {
    if (client !== dead) return;
    client = undefined;
    clearTimeout(timer);
    dead.end().catch(() => {});
    if (closed) return;
    options.onError(error);
    timer = setTimeout(connect, retryMs);
    retryMs = Math.min(retryMs * 2, MAX_RETRY_MS);
  };

  const beat = (alive: pg.Client): void => {
    timer = setTimeout(() => {
      const deadline = setTimeout(
        () => drop(alive, new Error('LISTEN heartbeat timed out')),
        HEARTBEAT_DEADLINE_MS,
      );
      alive.query('select 1').then(
        () => {
          clearTimeout(deadline);
          if (client === alive && !closed) beat(alive);
        },
        (error: unknown) => {
          clearTimeout(deadline);
          drop(alive, error);
        },
      );
    }, HEARTBEAT_INTERVAL_MS);
    timer.unref();
  };

  const connect = (): void => {
    const next = new pg.Client({
      connectionString: options.url,
      application_name: 'steelthread-listen',
      keepAlive: true,
      connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
      // B, for the LISTEN itself: nothing beats before it is answered.
      query_timeout: HEARTBEAT_DEADLINE_MS,
    });
    client = next;
    next.on('error', (error) => drop(next, error));
    next.on('end', () => drop(next, new Error('LISTEN connection ended')));
    next.on('notification', (message) => options.onNotify(message.channel, message.payload ?? ''));
    const listen = options.channels.map((channel) => `listen ${pg.escapeIdentifier(channel)}`).join('; ');
    next
      .connect()
      .then(() => next.query(listen))
      .then(
        () => {
          if (closed || client !== next) return;
          retryMs = FIRST_RETRY_MS;
          beat(next);
          markReady();
          options.onReconnect();
        },
        (error: unknown) => drop(next, error),
      );
  };

  connect();
  return {
    ready,
    async close() {
      if (closed) return;
      closed = true;
      clearTimeout(timer);
      const last = client;
      client = undefined;
      await last?.end().catch(() => {});
    },
  };
}
