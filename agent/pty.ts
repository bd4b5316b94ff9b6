/**
 * A pseudoterminal with a program in it. Linux; needs the optional package node-pty.
 *
 * Only the native half of node-pty is used: its JavaScript half closes the PTY 200 ms after the program has ended, and
 * what was not read until then is lost. Here the reader decides how long it takes (invariant T2 of the protocol).
 */
import { writeSync } from 'node:fs';
import type { SocketConstructorOpts, TcpSocketConnectOpts } from 'node:net';
import { ReadStream } from 'node:tty';
import { errorCode } from './log.ts';

/** A PTY whose program does not read is asked again after this long, milliseconds. */
const WRITE_RETRY_MS = 5;

/** Most bytes that Linux gives of a PTY in one read. */
export const PTY_READ_BYTES = 4_095;
/**
 * Room for one read. More than it ever fills: with exactly as much, libuv reads again and again without asking for events
 * in between, and a terminal that was paused and resumed now and then did not go on.
 */
const READ_BUFFER_BYTES = 64 * 1024;

interface NativePty {
  fork(
    file: string,
    args: readonly string[],
    environment: readonly string[],
    directory: string,
    cols: number,
    rows: number,
    uid: number,
    gid: number,
    isUtf8: boolean,
    helperPath: string,
    onExit: (exitCode: number, signal: number) => void,
  ): { fd: number; pid: number };
  resize(fd: number, cols: number, rows: number): void;
}

/** Starts programs in PTYs. */
export interface PtyLibrary {
  start(program: PtyProgram): Pty;
}

export interface PtyProgram {
  file: string;
  args: readonly string[];
  environment: Readonly<Record<string, string>>;
  directory: string;
  cols: number;
  rows: number;
  /** The bytes are only good until this returns. */
  onData(bytes: Buffer): void;
  /** No byte comes any more: every process has closed its side, or `destroy` was called. */
  onEnd(): void;
  onExit(exitCode: number, signal: number): void;
  /** So many bytes of input were taken, of all that was written. */
  onTaken(count: number): void;
}

export interface Pty {
  readonly pid: number;
  /** Bytes wait here until the program reads. */
  write(bytes: Buffer): void;
  resize(cols: number, rows: number): void;
  pause(): void;
  resume(): void;
  destroy(): void;
}

const isNativePty = (value: unknown): value is NativePty =>
  typeof value === 'object' &&
  value !== null &&
  'fork' in value &&
  typeof value.fork === 'function' &&
  'resize' in value &&
  typeof value.resize === 'function';

/** The library, or why there is none here. Never rejects. */
export async function loadPtyLibrary(): Promise<PtyLibrary | { missing: string }> {
  if (process.platform !== 'linux') return { missing: `no terminals on ${process.platform}` };
  try {
    // Its types do not know the native half.
    const loaded: object = await import('node-pty');
    const native = 'native' in loaded ? loaded.native : undefined;
    if (!isNativePty(native)) return { missing: 'another version of node-pty is needed' };
    return { start: (program) => startPty(native, program) };
  } catch (error) {
    return { missing: `node-pty cannot be loaded: ${errorCode(error) ?? 'unknown'}` };
  }
}

/** @throws when the process cannot be made */
function startPty(native: NativePty, program: PtyProgram): Pty {
  const { cols, rows } = program;
  const { fd, pid } = native.fork(
    program.file,
    program.args,
    Object.entries(program.environment).map(([name, value]) => `${name}=${value}`),
    program.directory,
    cols,
    rows,
    -1,
    -1,
    true,
    // Only macOS has a helper.
    '',
    program.onExit,
  );
  // One buffer for all reads: they are small and many. Who is given what was read copies it at once.
  const onread = {
    buffer: Buffer.allocUnsafe(READ_BUFFER_BYTES),
    callback: (count: number, buffer: Uint8Array): boolean => {
      program.onData(Buffer.from(buffer.buffer, buffer.byteOffset, count));
      return true;
    },
  };
  const options: SocketConstructorOpts & Pick<TcpSocketConnectOpts, 'onread'> = { onread };
  const stream = new ReadStream(fd, options);
  const waiting: Buffer[] = [];
  let retry: NodeJS.Timeout | undefined;
  let isOpen = true;

  const destroy = (): void => {
    if (!isOpen) return;
    isOpen = false;
    clearTimeout(retry);
    waiting.length = 0;
    stream.destroy();
  };
  // EIO is how the end is told: no process has the other side open.
  stream.on('error', destroy);
  stream.on('end', destroy);
  stream.on('close', () => {
    destroy();
    program.onEnd();
  });

  // With a buffer of its own it does not begin by itself.
  stream.resume();

  const flush = (): void => {
    retry = undefined;
    let taken = 0;
    try {
      for (let first = waiting[0]; first !== undefined && isOpen; first = waiting[0]) {
        const count = writeSync(fd, first);
        taken += count;
        if (count < first.length) waiting[0] = first.subarray(count);
        else waiting.shift();
      }
    } catch (error) {
      // Full: the program does not read. Anything else: it has ended, and `close` follows.
      if (errorCode(error) === 'EAGAIN') retry = setTimeout(flush, WRITE_RETRY_MS);
      else waiting.length = 0;
    }
    if (taken > 0) program.onTaken(taken);
  };

  return {
    pid,
    write: (bytes) => {
      if (!isOpen) return;
      waiting.push(bytes);
      if (retry === undefined) flush();
    },
    resize: (newCols, newRows) => {
      if (isOpen) native.resize(fd, newCols, newRows);
    },
    pause: () => void stream.pause(),
    resume: () => void stream.resume(),
    destroy,
  };
}
