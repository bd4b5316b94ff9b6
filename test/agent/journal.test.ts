import { randomUUID } from 'node:crypto';
import {
  appendFileSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type JournalOptions, openJournal, type ResultFrame } from '../../agent/journal.ts';
import { emptySummary } from '../../agent/spool.ts';

const digest = 'd'.repeat(64);
const resultFor = (commandId: string): ResultFrame => ({
  type: 'result',
  commandId,
  digest,
  outcome: 'succeeded',
  exitCode: 0,
  signal: null,
  reason: null,
  startedAt: null,
  finishedAt: null,
  durationMs: 1,
  stdout: emptySummary,
  stderr: emptySummary,
});
const processStart = { pid: 1, processStart: '1', bootId: null, startedAt: '2026-01-01T00:00:00.000Z' };

describe('journal', () => {
  let home: string;
  beforeEach(() => {
    home = mkdtempSync(join(tmpdir(), 'steelthread-journal-'));
  });
  afterEach(() => rmSync(home, { recursive: true, force: true }));
  const path = (): string => join(home, 'journal.log');
  const reopen = <T>(read: (journal: ReturnType<typeof openJournal>) => T, options?: JournalOptions): T => {
    const journal = openJournal(home, options);
    try {
      return read(journal);
    } finally {
      journal.close();
    }
  };

  test('every phase is found again after reopening, with the same id and count', async () => {
    const journal = openJournal(home);
    const ids = [randomUUID(), randomUUID(), randomUUID(), randomUUID()] as const;
    for (const id of ids) journal.intent(id, digest);
    for (const id of ids.slice(1)) journal.started(id, processStart);
    journal.finished(resultFor(ids[2]), { stdout: 'YQ==' });
    journal.finished(resultFor(ids[3]), null);
    journal.acked(ids[3]);
    await journal.flush();
    const id = journal.journalId();
    expect(journal.seq()).toBe(10);
    journal.close();
    reopen((again) => {
      expect(again.journalId()).toBe(id);
      expect(again.seq()).toBe(10);
      expect(ids.map((commandId) => again.find(commandId)?.phase)).toEqual([
        'intent',
        'started',
        'finished',
        'acked',
      ]);
      expect(again.find(ids[2])).toMatchObject({ output: { stdout: 'YQ==' } });
      expect(again.find(ids[1])).toMatchObject({ start: processStart });
    });
  });

  test.each([1, 5, 40])('a torn tail (%i bytes missing) loses only the last record', (missing) => {
    const ids = [randomUUID(), randomUUID()] as const;
    reopen((journal) => {
      for (const id of ids) journal.intent(id, digest);
    });
    truncateSync(path(), statSync(path()).size - missing);
    reopen((journal) => {
      expect(journal.find(ids[0])?.phase).toBe('intent');
      expect(journal.find(ids[1])).toBeUndefined();
      expect(journal.seq()).toBe(1);
      journal.intent(ids[1], digest);
    });
    reopen((journal) => expect(journal.find(ids[1])?.phase).toBe('intent'));
  });

  test('garbage at the end and a damaged record are cut, and the count shows it', () => {
    const ids = Array.from({ length: 5 }, () => randomUUID());
    reopen((journal) => {
      for (const id of ids) journal.intent(id, digest);
    });
    appendFileSync(path(), Buffer.alloc(100));
    reopen((journal) => expect(journal.seq()).toBe(5));
    const text = readFileSync(path(), 'utf8');
    writeFileSync(path(), text.replace(ids[2] ?? '', ids[0] ?? ''));
    reopen((journal) => {
      expect(journal.seq()).toBe(2);
      expect(journal.find(ids[1] ?? '')?.phase).toBe('intent');
    });
  });

  test('flushes that arrive together share one sync, and the count tells only what is on the medium', async () => {
    const journal = openJournal(home);
    const flushes = Array.from({ length: 50 }, () => {
      journal.intent(randomUUID(), digest);
      return journal.flush();
    });
    expect(journal.seq()).toBe(0);
    await Promise.all(flushes);
    expect(journal.seq()).toBe(50);
    journal.close();
  });

  test('a rewrite keeps what is needed, keeps the count, and bounds the file', async () => {
    const journal = openJournal(home, { compactionGarbageRecords: 100, keptIdCount: 20 });
    const open = randomUUID();
    journal.intent(open, digest);
    const ids = Array.from({ length: 500 }, () => randomUUID());
    for (const id of ids) {
      journal.intent(id, digest);
      journal.started(id, processStart);
      journal.finished(resultFor(id), null);
      journal.acked(id);
    }
    await journal.flush();
    expect(journal.seq()).toBe(2001);
    const { journalId } = journal;
    const before = journalId();
    journal.close();
    expect(readFileSync(path(), 'utf8').split('\n').length).toBeLessThan(250);
    reopen(
      (again) => {
        expect(again.journalId()).toBe(before);
        expect(again.seq()).toBe(2001);
        expect(again.find(open)?.phase).toBe('intent');
        expect(again.find(ids.at(-1) ?? '')?.phase).toBe('acked');
        expect(again.find(ids[0] ?? '')).toBeUndefined();
      },
      { keptIdCount: 20 },
    );
  });

  test('a rewrite while a flush is on its way satisfies it', async () => {
    const journal = openJournal(home);
    journal.intent(randomUUID(), digest);
    const first = journal.flush();
    journal.intent(randomUUID(), digest);
    const second = journal.flush();
    journal.reset();
    await Promise.all([first, second]);
    journal.intent(randomUUID(), digest);
    await journal.flush();
    expect(journal.seq()).toBe(1);
    journal.close();
  });

  test('ids are forgotten after their time, never before', () => {
    let now = 1_000_000;
    const options = { now: () => now, keptIdAgeMs: 1_000, compactionGarbageRecords: 2 };
    const journal = openJournal(home, options);
    const [old, young] = [randomUUID(), randomUUID()];
    const finish = (id: string) => {
      journal.intent(id, digest);
      journal.finished(resultFor(id), null);
      journal.acked(id);
    };
    finish(old);
    now += 900;
    finish(young);
    expect(journal.find(old)?.phase).toBe('acked');
    now += 200;
    finish(randomUUID());
    expect(journal.find(old)).toBeUndefined();
    expect(journal.find(young)?.phase).toBe('acked');
    journal.close();
  });

  test('after a failed write nothing more is taken', () => {
    const journal = openJournal(home);
    journal.close();
    expect(() => journal.intent(randomUUID(), digest)).toThrow();
  });

  test('a reset begins a new id and keeps every id known', () => {
    const id = randomUUID();
    const before = reopen((journal) => {
      journal.intent(id, digest);
      journal.finished(resultFor(id), null);
      const old = journal.journalId();
      journal.reset();
      expect(journal.journalId()).not.toBe(old);
      return journal.journalId();
    });
    reopen((journal) => {
      expect(journal.journalId()).toBe(before);
      expect(journal.seq()).toBe(0);
      expect(journal.find(id)?.phase).toBe('finished');
    });
  });
});
