/**
 * The kept bytes of one output stream, readable from any offset until the server has stored the result.
 *
 * Small output of a short command stays in memory. It goes to a file when it grows above SPOOL_MEMORY_BYTES, or when
 * `spill` is called (a command that runs on): what is in the file survives the death of the agent.
 *
 * Invariants:
 *  S1. The first `capBytes` bytes are kept exactly; later ones are only counted. `sha256` is that of the kept bytes.
 *  S2. When the disk refuses (full), nothing more is kept, and the summary says truncated: never silently cut.
 */
import { createHash } from 'node:crypto';
import {
  closeSync,
  existsSync,
  fstatSync,
  openSync,
  readFileSync,
  readSync,
  unlinkSync,
  writeSync,
} from 'node:fs';
import type { StreamSummary } from '../contracts/agent-protocol.ts';

/** Output bytes of one stream held in memory before they go to a file. */
export const SPOOL_MEMORY_BYTES = 64 * 1024;

export interface Spool {
  append(bytes: Buffer): void;
  /** Bytes kept so far. */
  size(): number;
  /** At most `maxBytes` from `offset`; empty at the end. */
  read(offset: number, maxBytes: number): Buffer;
  summary(): StreamSummary;
  /** Move memory to the file, so that it survives this process. */
  spill(): void;
  /** The kept bytes as base64 when they are only in memory, else null. */
  memoryBase64(): string | null;
  /** Close the file, keep it. */
  close(): void;
  /** Forget the bytes, delete the file. */
  discard(): void;
}

/** Empty output, for commands that never ran. */
export const emptySummary: StreamSummary = {
  bytes: 0,
  totalBytes: 0,
  sha256: createHash('sha256').digest('hex'),
  truncated: false,
};

export interface SpoolOptions {
  path: string;
  capBytes: number;
  memoryBytes?: number;
  /** Called once when the disk refuses (S2). */
  onDiskError?: (error: unknown) => void;
}

/** A new, empty spool. `path` is created only when it is needed. */
export function createSpool(options: SpoolOptions): Spool {
  return spoolOver(options, { chunks: [], size: 0, fd: null, totalBytes: 0 });
}

/** What an earlier process of this agent left: its file, or the bytes saved with the result. Both may be missing. */
export function restoreSpool(path: string, savedBase64: string | undefined): Spool {
  const options = { path, capBytes: Number.MAX_SAFE_INTEGER };
  // Bytes are saved where they are in memory only: a file beside them is what a failed spill left.
  if (savedBase64 === undefined && existsSync(path)) {
    const fd = openSync(path, 'r');
    const size = fstatSync(fd).size;
    return spoolOver(options, { chunks: [], size, fd, totalBytes: size });
  }
  const bytes = Buffer.from(savedBase64 ?? '', 'base64');
  return spoolOver(options, { chunks: [bytes], size: bytes.length, fd: null, totalBytes: bytes.length });
}

interface SpoolContent {
  chunks: Buffer[];
  size: number;
  fd: number | null;
  totalBytes: number;
}

function spoolOver(options: SpoolOptions, content: SpoolContent): Spool {
  const { path, capBytes } = options;
  const memoryBytes = options.memoryBytes ?? SPOOL_MEMORY_BYTES;
  let { chunks, size, fd, totalBytes } = content;
  let isRefused = false;
  const hash = createHash('sha256');
  if (fd !== null) hash.update(readFileSync(path));
  for (const chunk of chunks) hash.update(chunk);

  const writeFile = (target: number, bytes: Buffer): void => {
    let done = 0;
    while (done < bytes.length) done += writeSync(target, bytes, done);
  };
  const unlink = (): void => {
    try {
      unlinkSync(path);
    } catch {
      // Deleted from outside.
    }
  };
  const spill = (): void => {
    if (fd !== null || size === 0 || isRefused) return;
    let opened: number | null = null;
    try {
      opened = openSync(path, 'w+', 0o600);
      for (const chunk of chunks) writeFile(opened, chunk);
      fd = opened;
      chunks = [];
    } catch (error) {
      // What is in memory stays there, still readable.
      if (opened !== null) {
        closeSync(opened);
        unlink();
      }
      isRefused = true;
      options.onDiskError?.(error);
    }
  };
  const memory = (): Buffer => {
    const [only] = chunks;
    if (chunks.length === 1 && only !== undefined) return only;
    const joined = Buffer.concat(chunks);
    chunks = [joined];
    return joined;
  };

  return {
    append: (bytes) => {
      totalBytes += bytes.length;
      if (isRefused) return;
      const kept = bytes.subarray(0, Math.max(0, capBytes - size));
      if (kept.length === 0) return;
      if (fd === null && size + kept.length > memoryBytes) spill();
      if (fd === null && size > 0 && size + kept.length > memoryBytes) return; // The spill was refused (S2).
      if (fd === null && size === 0 && kept.length > memoryBytes) {
        chunks = [kept];
        size = kept.length;
        hash.update(kept);
        spill();
        return;
      }
      if (fd === null) {
        chunks.push(kept);
      } else {
        try {
          writeFile(fd, kept);
        } catch (error) {
          isRefused = true;
          options.onDiskError?.(error);
          return;
        }
      }
      size += kept.length;
      hash.update(kept);
    },
    size: () => size,
    read: (offset, maxBytes) => {
      const length = Math.max(0, Math.min(maxBytes, size - offset));
      if (length === 0) return Buffer.alloc(0);
      if (fd === null) return memory().subarray(offset, offset + length);
      const bytes = Buffer.allocUnsafe(length);
      let done = 0;
      while (done < length) {
        const got = readSync(fd, bytes, done, length - done, offset + done);
        if (got === 0) break;
        done += got;
      }
      return bytes.subarray(0, done);
    },
    summary: () => ({
      bytes: size,
      totalBytes,
      sha256: hash.copy().digest('hex'),
      truncated: totalBytes > size,
    }),
    spill,
    memoryBase64: () => (fd === null && size > 0 ? memory().toString('base64') : null),
    close: () => {
      if (fd !== null) closeSync(fd);
      fd = null;
      chunks = [];
      size = 0;
    },
    discard: () => {
      const hadFile = fd !== null;
      if (fd !== null) closeSync(fd);
      fd = null;
      chunks = [];
      size = 0;
      if (hadFile) unlink();
    },
  };
}
