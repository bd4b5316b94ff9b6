/**
 * The development log of one orchestrator: `<folder>/orch-<id>.log`, a JSON object a line, secrets stripped as in every
 * log. It is written before the next line of code runs, so that the last line before a crash is there: for development,
 * not for load.
 */
import { closeSync, fstatSync, mkdirSync, openSync, renameSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { createLogger } from '../log.ts';
import type { Log } from './context.ts';

/** A file above this is put aside, bytes. */
const MAX_FILE_BYTES = 10 * 1024 * 1024;
/** Files put aside: `….log.1` is the newest of them. */
const KEPT_FILES = 5;

export interface DevLog {
  log: Log;
  path: string;
  /** Idempotent. */
  close(): void;
}

/** @throws when the folder cannot be made or written */
export function openDevLog({
  folder,
  orchestratorId,
  maxFileBytes = MAX_FILE_BYTES,
}: {
  folder: string;
  orchestratorId: string;
  maxFileBytes?: number;
}): DevLog {
  // The id comes from the environment; it names a file of this folder and no other.
  const name = `orch-${orchestratorId.replaceAll(/[^\w.-]/g, '_')}`;
  const path = join(folder, `${name}.log`);
  mkdirSync(folder, { recursive: true });
  const file = openRotatingFile(path, maxFileBytes);
  return { log: createLogger({ name, level: 'debug', stream: file }), path, close: file.close };
}

function openRotatingFile(path: string, maxBytes: number) {
  const open = (): number => openSync(path, 'a', 0o600);
  let file: number | undefined = open();
  let bytes = fstatSync(file).size;

  function rotate(current: number): number {
    for (let age = KEPT_FILES - 1; age >= 1; age--) renameIfThere(`${path}.${age}`, `${path}.${age + 1}`);
    renameIfThere(path, `${path}.1`);
    const next = open();
    // Not before there is another: a closed number is given to the next socket, and would be written to.
    closeSync(current);
    bytes = 0;
    return next;
  }

  return {
    write(line: string): void {
      if (file === undefined) return;
      const length = Buffer.byteLength(line);
      try {
        if (bytes > 0 && bytes + length > maxBytes) file = rotate(file);
        writeSync(file, line);
        bytes += length;
      } catch {
        // A disk that is full, or a folder that is gone, must not fail the request that the line is about.
      }
    },
    close(): void {
      if (file !== undefined) closeSync(file);
      file = undefined;
    },
  };
}

function renameIfThere(from: string, to: string): void {
  try {
    renameSync(from, to);
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ENOENT')) throw error;
  }
}
