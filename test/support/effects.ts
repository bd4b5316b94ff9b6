/**
 * The effect checker: every command that starts appends its id to a file that the system never reads. Afterwards the
 * lines are compared with the outcomes on record (promises P1 and P3).
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { CommandView } from '../../contracts/commands.ts';

export interface EffectLog {
  /** A shell command whose effect is one line. */
  command: string;
  /** How often each command id had its effect. */
  counts(): Map<string, number>;
}

export function createEffectLog(directory: string): EffectLog {
  const file = join(directory, 'effects');
  return {
    // One short write in append mode: lines of processes that write at once do not mix.
    command: `echo "$STEELTHREAD_COMMAND_ID" >> ${file}`,
    counts() {
      const counts = new Map<string, number>();
      for (const id of readLines(file)) counts.set(id, (counts.get(id) ?? 0) + 1);
      return counts;
    },
  };
}

function readLines(file: string): string[] {
  try {
    return readFileSync(file, 'utf8').split('\n').filter(Boolean);
  } catch {
    return []; // Nothing has had an effect.
  }
}

/** What the outcomes on record say that is not true; empty when all is well. */
export function findUntruths(
  commands: readonly Pick<CommandView, 'commandId' | 'state' | 'startedAt'>[],
  counts: ReadonlyMap<string, number>,
): string[] {
  const untruths: string[] = [];
  const known = new Set(commands.map((command) => command.commandId));
  for (const [id] of counts) if (!known.has(id)) untruths.push(`${id} had an effect and is on no record`);
  for (const { commandId, state, startedAt } of commands) {
    const count = counts.get(commandId) ?? 0;
    const hadNone =
      ['queued', 'rejected', 'expired'].includes(state) || (state === 'canceled' && startedAt === null);
    if (count > 1) untruths.push(`${commandId} (${state}) had its effect ${count} times`);
    if (state === 'succeeded' && count === 0) untruths.push(`${commandId} succeeded without its effect`);
    if (hadNone && count > 0) untruths.push(`${commandId} is ${state} and had its effect`);
  }
  return untruths;
}
