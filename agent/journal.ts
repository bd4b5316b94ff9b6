/**
 * The agent's journal: what it was told to start, what it started, how it ended, what the server has stored.
 *
 *   INTENT ──► STARTED ──► RESULT ──► ACKED       (a rejected, expired or canceled command goes to RESULT at once;
 *                                                  the RESULT of an id never seen is a tombstone)
 *
 * Invariants:
 *  J1. INTENT is on the medium (`flush`) before the process starts; that is protocol invariant B.
 *  J2. STARTED, RESULT and ACKED are written when the call returns, so kill -9 of the agent loses none of them. Loss of
 *      power may lose those of the last LAZY_FLUSH_MS; the command then reads as `unknown`, never as not started.
 *  J3. An id stays known after its ack for KEPT_ID_AGE_MS or until KEPT_ID_COUNT younger ones came, so late
 *      duplicates are refused.
 *  J4. `seq` counts records on the medium and never falls while the journal id stays the same, except when the
 *      medium lost records: that is how the server sees a rolled-back journal.
 */
import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { z } from 'zod';
import { type AgentFrame, agentFrameSchema, type StreamName } from '../contracts/agent-protocol.ts';
import { openJournalFile } from './journal-file.ts';

/** How long an acked id is remembered, milliseconds (7 days). */
export const KEPT_ID_AGE_MS = 7 * 24 * 60 * 60 * 1000;
/** Most acked ids remembered. */
export const KEPT_ID_COUNT = 100_000;
/** Records in the file that no entry needs any more before it is rewritten (and at least as many as are needed). */
export const COMPACTION_GARBAGE_RECORDS = 10_000;
/** How long records other than INTENT may wait for the medium, milliseconds (J2). */
export const LAZY_FLUSH_MS = 1_000;

export type ResultFrame = Extract<AgentFrame, { type: 'result' }>;
export type SavedOutput = Partial<Record<StreamName, string>>;

export type JournalEntry = {
  readonly commandId: string;
  /** NO_DIGEST (protocol) for a tombstone. */
  readonly digest: string;
  /** Time of the last change, milliseconds since the epoch. */
  readonly at: number;
} & (
  | { readonly phase: 'intent' }
  | { readonly phase: 'started'; readonly start: ProcessStart }
  /** `output` holds (base64) what was only in memory when the command ended, so that a restart can still send it. */
  | { readonly phase: 'finished'; readonly result: ResultFrame; readonly output: SavedOutput | null }
  | { readonly phase: 'acked'; readonly result: ResultFrame }
);

/** Identity of a started process: a pid alone may be reused. */
const processStartSchema = z.object({
  pid: z.int(),
  /** Field 22 of /proc/<pid>/stat (clock ticks since boot), or null where there is no /proc. */
  processStart: z.string().nullable(),
  bootId: z.string().nullable(),
  startedAt: z.string(),
});
export type ProcessStart = z.infer<typeof processStartSchema>;

const resultSchema: z.ZodType<ResultFrame> = agentFrameSchema.options[4];
const id = z.string();
const at = z.number();
const savedOutputSchema = z.object({ stdout: z.string().optional(), stderr: z.string().optional() });
const recordSchema = z.discriminatedUnion('t', [
  /** First line. `seq` is the count at the rewrite, `snapshot` how many of the following lines belong to it. */
  z.object({ t: z.literal('head'), journalId: z.uuid(), seq: z.int(), snapshot: z.int() }),
  z.object({ t: z.literal('intent'), id, at, digest: z.string() }),
  z.object({ t: z.literal('started'), id, at, start: processStartSchema }),
  z.object({ t: z.literal('result'), id, at, result: resultSchema, output: savedOutputSchema.nullable() }),
  z.object({ t: z.literal('acked'), id, at }),
  /** Only in a rewrite: result and ack in one. */
  z.object({ t: z.literal('done'), id, at, result: resultSchema }),
]);
type JournalRecord = z.infer<typeof recordSchema>;

export interface Journal {
  journalId(): string;
  /** Records on the medium (J4). */
  seq(): number;
  find(commandId: string): JournalEntry | undefined;
  entries(): Iterable<JournalEntry>;
  /** Appends throw when the journal cannot be written; nothing may start then. */
  intent(commandId: string, digest: string): void;
  started(commandId: string, start: ProcessStart): void;
  finished(result: ResultFrame, output: SavedOutput | null): void;
  acked(commandId: string): void;
  /** Resolves when every append so far is on the medium. */
  flush(): Promise<void>;
  /** Begin a new journal id (the server asked for it). All ids stay known. */
  reset(): void;
  close(): void;
}

const apply = (entries: Map<string, JournalEntry>, record: JournalRecord): void => {
  if (record.t === 'head') return;
  const { id: commandId, at: time } = record;
  const before = entries.get(commandId);
  switch (record.t) {
    case 'intent':
      entries.set(commandId, { commandId, at: time, digest: record.digest, phase: 'intent' });
      return;
    case 'started':
      if (before === undefined) return;
      entries.set(commandId, {
        commandId,
        at: time,
        digest: before.digest,
        phase: 'started',
        start: record.start,
      });
      return;
    case 'result': {
      const { result, output } = record;
      entries.set(commandId, {
        commandId,
        at: time,
        digest: result.digest,
        phase: 'finished',
        result,
        output,
      });
      return;
    }
    case 'acked':
      if (before?.phase !== 'finished') return;
      // Deleted first so that acked entries stand in the map in the order of their acks: the oldest goes first (J3).
      entries.delete(commandId);
      entries.set(commandId, {
        commandId,
        at: time,
        digest: before.digest,
        phase: 'acked',
        result: before.result,
      });
      return;
    case 'done': {
      const { result } = record;
      entries.set(commandId, { commandId, at: time, digest: result.digest, phase: 'acked', result });
    }
  }
};

function* snapshotOf(entries: Iterable<JournalEntry>): Iterable<JournalRecord> {
  for (const entry of entries) {
    const { commandId, at: time } = entry;
    if (entry.phase === 'acked') {
      yield { t: 'done', id: commandId, at: time, result: entry.result };
    } else if (entry.phase === 'finished') {
      yield { t: 'result', id: commandId, at: time, result: entry.result, output: entry.output };
    } else {
      yield { t: 'intent', id: commandId, at: time, digest: entry.digest };
      if (entry.phase === 'started') yield { t: 'started', id: commandId, at: time, start: entry.start };
    }
  }
}

export interface JournalOptions {
  now?: () => number;
  keptIdCount?: number;
  keptIdAgeMs?: number;
  compactionGarbageRecords?: number;
}

/** Open the journal of an agent's home directory (which the caller has locked), or begin one. */
export function openJournal(home: string, options: JournalOptions = {}): Journal {
  const now = options.now ?? Date.now;
  const keptIdCount = options.keptIdCount ?? KEPT_ID_COUNT;
  const keptIdAgeMs = options.keptIdAgeMs ?? KEPT_ID_AGE_MS;
  const garbageBound = options.compactionGarbageRecords ?? COMPACTION_GARBAGE_RECORDS;
  const { file, records: raw } = openJournalFile(join(home, 'journal.log'));
  const entries = new Map<string, JournalEntry>();
  let ackedCount = 0;
  let lazyFlush: NodeJS.Timeout | null = null;

  const records = raw.map((value) => recordSchema.parse(value));
  for (const record of records) apply(entries, record);
  for (const entry of entries.values()) if (entry.phase === 'acked') ackedCount += 1;
  const head = records[0]?.t === 'head' ? records[0] : null;
  let journalId = head?.journalId ?? randomUUID();
  /** `seq()` is this plus the file's durable count. */
  let seqOffset = head === null ? 0 : head.seq - head.snapshot - 1;
  let recordsInFile = records.length;
  let appendedCount = records.length;

  const seq = (): number => Math.max(0, seqOffset + file.durableCount());

  const forgetOld = (): void => {
    const oldest = now() - keptIdAgeMs;
    for (const entry of entries.values()) {
      if (entry.phase !== 'acked') continue;
      if (ackedCount <= keptIdCount && entry.at >= oldest) break;
      entries.delete(entry.commandId);
      ackedCount -= 1;
    }
  };

  const rewrite = (nextId: string): void => {
    forgetOld();
    const snapshot = [...snapshotOf(entries.values())];
    // A rewrite makes every append durable, so the count it stores is that of all appends.
    const seqNow = nextId === journalId ? Math.max(0, seqOffset + appendedCount) : 0;
    file.replace([{ t: 'head', journalId: nextId, seq: seqNow, snapshot: snapshot.length }, ...snapshot]);
    journalId = nextId;
    seqOffset = seqNow - file.durableCount();
    recordsInFile = snapshot.length + 1;
  };
  const append = (record: JournalRecord): void => {
    file.append(record);
    appendedCount += 1;
    recordsInFile += 1;
    apply(entries, record);
    if (lazyFlush !== null) return;
    lazyFlush = setTimeout(() => {
      lazyFlush = null;
      // A failed flush breaks the file, and the next append says so.
      file.flush().catch(() => {});
    }, LAZY_FLUSH_MS);
    lazyFlush.unref();
  };

  const compactWhenDue = (): void => {
    forgetOldOverflow();
    const garbage = recordsInFile - entries.size;
    if (garbage >= garbageBound && garbage >= entries.size) rewrite(journalId);
  };
  const forgetOldOverflow = (): void => {
    if (ackedCount > keptIdCount + Math.ceil(keptIdCount / 10)) forgetOld();
  };

  if (head === null) rewrite(journalId);

  return {
    journalId: () => journalId,
    seq,
    find: (commandId) => entries.get(commandId),
    entries: () => entries.values(),
    intent: (commandId, digest) => append({ t: 'intent', id: commandId, at: now(), digest }),
    started: (commandId, start) => append({ t: 'started', id: commandId, at: now(), start }),
    finished: (result, output) => append({ t: 'result', id: result.commandId, at: now(), result, output }),
    acked: (commandId) => {
      if (entries.get(commandId)?.phase !== 'finished') return;
      append({ t: 'acked', id: commandId, at: now() });
      ackedCount += 1;
      compactWhenDue();
    },
    flush: () => file.flush(),
    reset: () => rewrite(randomUUID()),
    close: () => {
      if (lazyFlush !== null) clearTimeout(lazyFlush);
      file.close();
    },
  };
}
