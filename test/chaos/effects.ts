/**
 * Promise P1 seen from outside: every command that starts appends its id to a file that the system never reads.
 */
import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Numbers printed before and after the wait: more than one output chunk each. */
const HALF = 16_000;

export interface TestCommand {
  /** Script for a shell: leaves its mark, prints, waits for `release`, prints again. */
  script: string;
  /** Let the command end. */
  release(): void;
  /** sha256 and size of the output of a run to the end. */
  sha256: string;
  bytes: number;
}

export interface Effects {
  file: string;
  /** A command that waits after half of its output. */
  createWaiting(): TestCommand;
  /** A command that ends by itself, after a pause in its middle. `tag` is in its output. */
  createQuick(tag: string, pauseMs?: number): TestCommand;
  /** How often each command id was started. */
  counts(): Map<string, number>;
  close(): void;
}

export function openEffects(): Effects {
  const folder = mkdtempSync(join(tmpdir(), 'steelthread-effects-'));
  const file = join(folder, 'started');
  writeFileSync(file, '');
  let made = 0;
  const leaveMark = `printf '%s\\n' "$STEELTHREAD_COMMAND_ID" >> ${file}`;
  return {
    file,
    createWaiting() {
      made += 1;
      const go = join(folder, `go-${made}`);
      const output = `${range(1, HALF)}${range(HALF + 1, 2 * HALF)}`;
      return {
        script: `${leaveMark}; seq 1 ${HALF}; while [ ! -e ${go} ]; do sleep 0.05; done; seq ${HALF + 1} ${2 * HALF}`,
        release: () => writeFileSync(go, ''),
        ...facts(output),
      };
    },
    createQuick(tag, pauseMs = 0) {
      return {
        script: `${leaveMark}; seq 1 2000; sleep ${pauseMs / 1000}; echo ${tag}`,
        release: () => undefined,
        ...facts(`${range(1, 2000)}${tag}\n`),
      };
    },
    counts() {
      const counts = new Map<string, number>();
      if (!existsSync(file)) return counts;
      for (const id of readFileSync(file, 'utf8').split('\n'))
        if (id !== '') counts.set(id, (counts.get(id) ?? 0) + 1);
      return counts;
    },
    close: () => rmSync(folder, { recursive: true, force: true }),
  };
}

const range = (from: number, to: number): string =>
  Array.from({ length: to - from + 1 }, (_, index) => `${from + index}\n`).join('');

const facts = (output: string) => ({
  sha256: createHash('sha256').update(output).digest('hex'),
  bytes: Buffer.byteLength(output),
});
