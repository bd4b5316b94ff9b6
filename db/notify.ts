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

export function createNotifier(db: Db, onError: (error: unknown) => void): Notifier {
  let waiting = new Map<string, Set<string>>();
  let sending: Promise<void> | undefined;

  const send = async (): Promise<void> => {
    while (waiting.size > 0) {
      const batch = [...waiting].map(([channel, ids]) => ({ channel, payload: payloadOf(ids) }));
      waiting = new Map();
      await execute(
        db,
        `select pg_notify(channel, payload)
         from jsonb_to_recordset(cast(:batch as jsonb)) as b(channel text, payload text)`,
        { batch: JSON.stringify(batch) },
      ).catch(onError);
    }
    sending = undefined;
  };

  return {
    notify(channel, ids = []) {
      const known = waiting.get(channel) ?? new Set<string>();
      for (const id of ids) known.add(id);
      waiting.set(channel, known);
      // In a microtask, so that what one commit announces goes out together.
      sending ??= Promise.resolve().then(send);
    },
    flush: async () => {
      while (sending !== undefined) await sending;
    },
  };
}

function payloadOf(ids: ReadonlySet<string>): string {
  const payload = [...ids].join(',');
  return Buffer.byteLength(payload) <= MAX_PAYLOAD_BYTES ? payload : '*';
}
