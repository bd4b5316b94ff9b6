/**
 * Send NOTIFYs after commits, coalesced: NOTIFY commits serialise in Postgres, so one statement carries all that
 * gathered while the last one was under way. Payloads are ids only; losing one costs latency, never truth.
 */
import { type Db, execute } from './database.ts';

/** Longest payload of one NOTIFY, bytes (Postgres allows 8000). Longer lists become `*`: everybody looks. */
const MAX_PAYLOAD_BYTES = 7_000;

export interface Notifier {
  /** Announce on a channel; `ids` are joined into the payload. Returns at once. */
  notify(channel: string, ids?: readonly string[]): void;
  /** Resolves when everything announced so far was sent, or failed and was logged. */
  flush(): Promise<void>;
}

/**
 * @param gapMs rest after a sending before the next, default 0: a process that commits all the time then announces in
 *   bundles, and what comes after a rest goes out at once
 * @param urgent channels whose listeners hold something up meanwhile: what is for them ends the rest
 */
export function createNotifier(
  db: Db,
  onError: (error: unknown) => void,
  { gapMs = 0, urgent = [] }: { gapMs?: number; urgent?: readonly string[] } = {},
): Notifier {
  let waiting = new Map<string, Set<string>>();
  let sending: Promise<void> | undefined;
  let isFlushing = false;
  let endRest: () => void = () => {};

  const rest = (): Promise<void> =>
    new Promise((resolve) => {
      const timer = setTimeout(resolve, gapMs);
      endRest = () => {
        clearTimeout(timer);
        resolve();
      };
    });

  const send = async (): Promise<void> => {
    while (waiting.size > 0) {
      const batch = [...waiting].map(([channel, ids]) => ({ channel, payload: payloadOf(ids) }));
      waiting = new Map();
      await execute(
        db,
        // Its commit has nothing to lose and need not be on disk: it would be one more sync beside those that do.
        `select pg_notify(channel, payload), set_config('synchronous_commit', 'off', true)
         from jsonb_to_recordset(cast(:batch as jsonb)) as b(channel text, payload text)`,
        { batch: JSON.stringify(batch) },
      ).catch(onError);
      const isUrgent = urgent.some((channel) => waiting.has(channel));
      if (gapMs > 0 && !isFlushing && !isUrgent) await rest();
    }
    sending = undefined;
  };

  return {
    notify(channel, ids = []) {
      const known = waiting.get(channel) ?? new Set<string>();
      for (const id of ids) known.add(id);
      waiting.set(channel, known);
      if (urgent.includes(channel)) endRest();
      // After this turn: what one commit announces goes out together, and whoever waits here for it is answered first.
      sending ??= new Promise<void>((resolve) => setImmediate(resolve)).then(send);
    },
    flush: async () => {
      isFlushing = true;
      endRest();
      while (sending !== undefined) await sending;
      isFlushing = false;
    },
  };
}

function payloadOf(ids: ReadonlySet<string>): string {
  const payload = [...ids].join(',');
  return Buffer.byteLength(payload) <= MAX_PAYLOAD_BYTES ? payload : '*';
}
