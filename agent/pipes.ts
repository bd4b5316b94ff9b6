/**
 * Output pipes for commands.
 *
 * Node gives a child sockets as its standard streams. Opening /dev/stdout or /dev/stderr then fails (ENXIO), so a
 * script with `echo oops > /dev/stderr` would break. Named pipes behave like a shell's own pipes. They are made in
 * lots by one `mkfifo`, opened on both ends, and unlinked before use, so that nobody else can open them by name.
 */
import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { closeSync, constants, fchownSync, openSync, readdirSync, unlinkSync } from 'node:fs';
import { Socket } from 'node:net';
import { join } from 'node:path';

/** Named pipes made by one call of `mkfifo`. */
const LOT_SIZE = 32;
/** A new lot is made when fewer than this many are left. */
const LOW_STOCK = 12;

export interface OutputPipe {
  /** Our end. */
  reader: Socket;
  /** The child's end; close it after the spawn. */
  writeFd: number;
}

export interface PipeStock {
  /** A pipe, or null when none is in stock or `mkfifo` is missing: use Node's own then. */
  take(owner: { uid: number; gid: number } | null): OutputPipe | null;
  /** Resolves when the first lot is made or has failed. */
  ready: Promise<void>;
  close(): void;
}

const discard = (path: string): void => {
  try {
    unlinkSync(path);
  } catch {
    // Gone already.
  }
};

/** Stock of named pipes under `directory`, which belongs to this process alone. */
export function createPipeStock(directory: string): PipeStock {
  for (const name of readdirSync(directory)) discard(join(directory, name));
  let stock: string[] = [];
  let isMaking = false;
  let isClosed = false;

  const make = (): Promise<void> =>
    new Promise((resolve) => {
      isMaking = true;
      const paths = Array.from({ length: LOT_SIZE }, () => join(directory, randomUUID()));
      execFile('mkfifo', ['-m', '600', ...paths], { timeout: 10_000 }, (error) => {
        isMaking = error !== null; // A failed call is not repeated for every command.
        if (isClosed || error !== null) for (const path of paths) discard(path);
        else stock.push(...paths);
        resolve();
      });
    });
  const ready = process.platform === 'win32' ? Promise.resolve() : make();

  return {
    ready,
    take: (owner) => {
      const path = stock.pop();
      if (stock.length < LOW_STOCK && !isMaking && !isClosed) void make();
      if (path === undefined) return null;
      let readFd: number | null = null;
      try {
        readFd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
        const writeFd = openSync(path, constants.O_WRONLY);
        // A child that runs as another user may reopen /dev/stderr only if the pipe is its own.
        if (owner !== null) fchownSync(writeFd, owner.uid, owner.gid);
        return { reader: new Socket({ fd: readFd, readable: true, writable: false }), writeFd };
      } catch {
        if (readFd !== null) closeSync(readFd);
        return null;
      } finally {
        discard(path);
      }
    },
    close: () => {
      isClosed = true;
      for (const path of stock) discard(path);
      stock = [];
    },
  };
}
