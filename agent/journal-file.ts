/**
 * Append-only file of checksummed lines with group commit.
 *
 * Invariants:
 *  F1. A line is `<crc32 of the JSON, 8 hex digits> <JSON>\n`. Reading stops at the first line that is not whole;
 *      the file is cut there. What is cut was never confirmed by `flush`, or the medium lost it: then the count of
 *      records shrinks, and the server sees a rolled-back journal.
 *  F2. `append` has written to the operating system when it returns: it survives kill -9 of this process.
 *  F3. `flush` resolves when everything appended before the call is on the medium. Calls that arrive while one
 *      fdatasync runs share the next one.
 *  F4. After a failed write or fdatasync the file takes nothing more (a torn line in the middle would hide what
 *      follows it); every call throws until the process restarts and recovers.
 */
import {
  closeSync,
  existsSync,
  fdatasync,
  fdatasyncSync,
  fsyncSync,
  ftruncateSync,
  openSync,
  readFileSync,
  renameSync,
  writeSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { crc32 } from 'node:zlib';

export interface JournalFile {
  append(record: unknown): void;
  flush(): Promise<void>;
  /** Records appended and confirmed on the medium since `open`, plus those read by it. */
  durableCount(): number;
  /** Replace the whole content by these records, atomically (a rename). Waiting flushes are satisfied by it. */
  replace(records: Iterable<unknown>): void;
  close(): void;
}

const encode = (record: unknown): string => {
  const json = JSON.stringify(record);
  return `${crc32(json).toString(16).padStart(8, '0')} ${json}\n`;
};

/** Decode a journal's bytes. `validBytes` is where the first damaged line starts. */
export function decodeJournal(bytes: Buffer): { records: unknown[]; validBytes: number } {
  const records: unknown[] = [];
  let start = 0;
  for (;;) {
    const end = bytes.indexOf(0x0a, start);
    if (end < 0) break;
    const line = bytes.toString('utf8', start, end);
    const json = line.slice(9);
    if (line[8] !== ' ' || crc32(json).toString(16).padStart(8, '0') !== line.slice(0, 8)) break;
    records.push(JSON.parse(json));
    start = end + 1;
  }
  return { records, validBytes: start };
}

/** Make a rename or a new file in this directory durable. Not every platform can open a directory. */
export function syncDirectory(path: string): void {
  try {
    const fd = openSync(path, 'r');
    try {
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
  } catch {
    // Windows: directories cannot be opened; its rename is durable enough with the file's own sync.
  }
}

const writeAll = (fd: number, text: string): void => {
  const bytes = Buffer.from(text, 'utf8');
  let done = 0;
  while (done < bytes.length) done += writeSync(fd, bytes, done);
};

/** Open or create the file, cut a torn tail (F1), and return the records that are whole. */
export function openJournalFile(path: string): { file: JournalFile; records: unknown[]; cutBytes: number } {
  const bytes = existsSync(path) ? readFileSync(path) : Buffer.alloc(0);
  const { records, validBytes } = decodeJournal(bytes);
  let fd = openSync(path, 'a', 0o600);
  if (validBytes < bytes.length) ftruncateSync(fd, validBytes);
  fdatasyncSync(fd);
  syncDirectory(dirname(path));

  let broken: Error | null = null;
  let appended = records.length;
  let durable = records.length;
  let syncing = false;
  let generation = 0;
  let waiting: { resolve: () => void; reject: (error: Error) => void }[] = [];

  const fail = (error: unknown): Error => {
    broken ??= new Error('the journal cannot be written', { cause: error });
    return broken;
  };
  const assertUsable = (): void => {
    if (broken !== null) throw broken;
  };

  const sync = (): void => {
    syncing = true;
    const served = waiting;
    const target = appended;
    const servedGeneration = generation;
    waiting = [];
    fdatasync(fd, (error) => {
      syncing = false;
      // A replace during the sync made everything durable and may have closed this descriptor.
      if (error !== null && servedGeneration === generation) {
        const failure = fail(error);
        for (const waiter of [...served, ...waiting]) waiter.reject(failure);
        waiting = [];
        return;
      }
      if (servedGeneration === generation) durable = Math.max(durable, target);
      for (const waiter of served) waiter.resolve();
      if (waiting.length > 0) sync();
    });
  };

  const file: JournalFile = {
    append: (record) => {
      assertUsable();
      try {
        writeAll(fd, encode(record));
      } catch (error) {
        throw fail(error);
      }
      appended += 1;
    },
    flush: () => {
      if (broken !== null) return Promise.reject(broken);
      if (durable === appended && !syncing) return Promise.resolve();
      return new Promise((resolve, reject) => {
        waiting.push({ resolve, reject });
        if (!syncing) sync();
      });
    },
    durableCount: () => durable,
    replace: (next) => {
      assertUsable();
      const temporary = `${path}.new`;
      try {
        const nextFd = openSync(temporary, 'w', 0o600);
        let batch = '';
        for (const record of next) {
          batch += encode(record);
          if (batch.length > 1024 * 1024) {
            writeAll(nextFd, batch);
            batch = '';
          }
        }
        writeAll(nextFd, batch);
        fdatasyncSync(nextFd);
        closeSync(nextFd);
        renameSync(temporary, path);
        syncDirectory(dirname(path));
        const old = fd;
        fd = openSync(path, 'a', 0o600);
        closeSync(old);
      } catch (error) {
        throw fail(error);
      }
      generation += 1;
      durable = appended;
    },
    close: () => {
      if (broken === null) {
        try {
          fdatasyncSync(fd);
        } catch {
          // Nothing left to protect: whoever needed the flush has been told by its rejection.
        }
      }
      broken ??= new Error('the journal is closed');
      closeSync(fd);
    },
  };
  return { file, records, cutBytes: bytes.length - validBytes };
}
