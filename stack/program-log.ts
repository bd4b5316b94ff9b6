/** The log file of a child program: everything it says, with the lines that matter passed on. */
import { closeSync, existsSync, mkdirSync, openSync, renameSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { z } from 'zod';
import { formatPretty } from '../log.ts';

const TAIL_LINES = 20;

const recordSchema = z.looseObject({ level: z.string().optional(), event: z.string().optional() });
/** One line of a program that logs JSON. */
export type LogRecord = z.infer<typeof recordSchema>;

export interface ProgramLog {
  readonly file: string;
  /** To be called with each line of output. */
  onLine(line: string): void;
  /** The newest lines, as people read them. */
  tail(): string;
  close(): void;
}

export interface ProgramLogOptions {
  /** The log of the start before is kept beside it, with `.1` at its end. */
  file: string;
  /** Hears each line that is a JSON record. `hide` keeps this line out of the file (it holds a secret). */
  onRecord?: (record: LogRecord, hide: () => void) => void;
  /** Hears warnings, errors, and lines that are no record at all (a crash speaks for itself). */
  onProblem?: (line: string, record: LogRecord | null) => void;
}

const problemLevels = new Set(['warn', 'error', 'fatal']);

export function openProgramLog({ file, onRecord, onProblem }: ProgramLogOptions): ProgramLog {
  mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
  if (existsSync(file)) renameSync(file, `${file}.1`);
  const fd = openSync(file, 'a', 0o600);
  const newest: string[] = [];
  let isClosed = false;
  /** Lines that are missing in the file. */
  let lost = 0;
  // A disk that is full must not end whom the program belongs to.
  const write = (line: string): void => {
    try {
      // The line that did not fit may have been begun.
      writeSync(fd, lost === 0 ? `${line}\n` : `\n(${lost} lines could not be written)\n${line}\n`);
      lost = 0;
    } catch (error) {
      lost += 1;
      const reason = error instanceof Error ? error.message : String(error);
      if (lost === 1) onProblem?.(`${file} cannot be written: ${reason}`, null);
    }
  };
  return {
    file,
    onLine(line) {
      const record = parseRecord(line);
      let isHidden = false;
      if (record !== null) {
        onRecord?.(record, () => {
          isHidden = true;
        });
      }
      if (isHidden || isClosed) return;
      write(line);
      newest.push(line);
      if (newest.length > TAIL_LINES) newest.shift();
      if (record === null || problemLevels.has(record.level ?? '')) onProblem?.(line, record);
    },
    tail: () => newest.map((line) => formatPretty(line).trimEnd()).join('\n'),
    close() {
      if (!isClosed) closeSync(fd);
      isClosed = true;
    },
  };
}

function parseRecord(line: string): LogRecord | null {
  try {
    return recordSchema.safeParse(JSON.parse(line)).data ?? null;
  } catch {
    return null;
  }
}
