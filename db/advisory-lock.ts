/**
 * Session advisory locks on a connection of their own: held as long as the session lives, free the moment it ends,
 * so a killed process never leaves one behind.
 *
 *  A. Losing the connection loses every lock; `holds` says so at the latest after one heartbeat.
 *  B. Between the loss and its notice two processes may hold the same lock: what runs under it must be safe when
 *     run twice, the lock only keeps it from being wasteful.
 */
import pg from 'pg';

/** How often the session is checked, and how long an answer may take, milliseconds. */
const HEARTBEAT_MS = 5_000;
const ANSWER_TIMEOUT_MS = 5_000;

export interface LockSession {
  /** @returns whether the lock is held by this session now. @throws when the database is away */
  tryLock(key: number): Promise<boolean>;
  /** As far as this process knows. */
  holds(key: number): boolean;
  unlock(key: number): Promise<void>;
  /** Ends the session and frees its locks. Idempotent. */
  close(): Promise<void>;
}

export interface LockSessionOptions {
  url: string;
  applicationName: string;
}

export function createLockSession(options: LockSessionOptions): LockSession {
  const held = new Set<number>();
  let session: Promise<pg.Client> | undefined;
  let isClosed = false;
  let lastQuestion: Promise<unknown> = Promise.resolve();

  /** One question at a time: the client has no queue that is meant to be used. */
  function ask<T>(question: () => Promise<T>): Promise<T> {
    const answer = lastQuestion.then(question);
    lastQuestion = answer.catch(() => undefined);
    return answer;
  }

  async function connect(): Promise<pg.Client> {
    const client = new pg.Client({
      connectionString: options.url,
      application_name: options.applicationName,
      keepAlive: true,
      connectionTimeoutMillis: ANSWER_TIMEOUT_MS,
      query_timeout: ANSWER_TIMEOUT_MS,
    });
    const opening = session;
    const heartbeat = setInterval(() => {
      ask(() => client.query('select 1')).catch(() => forget());
    }, HEARTBEAT_MS);
    heartbeat.unref();

    function forget(): void {
      clearInterval(heartbeat);
      if (session !== opening || session === undefined) return;
      session = undefined; // A
      held.clear();
      client.end().catch(() => undefined);
    }

    client.on('error', forget);
    client.on('end', forget);
    try {
      await client.connect();
    } catch (error) {
      forget();
      throw error;
    }
    return client;
  }

  function open(): Promise<pg.Client> {
    if (isClosed) return Promise.reject(new Error('the lock session is closed'));
    if (session === undefined) {
      // The promise must be known to `connect` before it can fail, so it starts in the next microtask.
      session = Promise.resolve().then(connect);
      session.catch(() => undefined);
    }
    return session;
  }

  return {
    tryLock: (key) =>
      ask(async () => {
        const client = await open();
        if (held.has(key)) return true;
        const text = 'select pg_try_advisory_lock($1) as locked';
        const { rows } = await client.query<{ locked: boolean }>(text, [key]);
        if (rows[0]?.locked !== true || session === undefined) return false;
        held.add(key);
        return true;
      }),
    holds: (key) => held.has(key),
    unlock: (key) =>
      ask(async () => {
        if (!held.delete(key) || session === undefined) return;
        await (await session).query('select pg_advisory_unlock($1)', [key]);
      }),
    async close() {
      if (isClosed) return;
      isClosed = true;
      const closing = session;
      session = undefined;
      held.clear();
      await closing?.then((client) => client.end()).catch(() => undefined);
    },
  };
}
