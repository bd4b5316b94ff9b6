/** The quality gates at the end of a task of a team: nobody has to look at it, so the evidence has to be there. */
import { type CommandWithAct, listTaskCommands } from '../../db/commands.ts';
import type { TaskRow } from '../../db/tasks.ts';
import type { Log } from '../deps.ts';
import { type GateReason, judgeQuality } from '../quality-gates.ts';
import { readGates } from '../step-policies.ts';
import type { Unit } from '../transact.ts';
import { readOutputTexts } from './outcome-text.ts';

/** Output that the quality gates look at, bytes a stream. */
const MAX_JUDGED_BYTES = 64 * 1024;

/** What a command printed, as far as the gates look at it. */
export async function readJudgedOutput(unit: Unit, command: CommandWithAct): Promise<string> {
  const { commandId, stdout, stderr } = command;
  const written = {
    commandId,
    outputBytes: stdout.bytes + stderr.bytes,
    isTruncated: stdout.truncated || stderr.truncated,
  };
  return (await readOutputTexts(unit.trx, [written], MAX_JUDGED_BYTES)).get(commandId)?.text ?? '';
}

/**
 * The gate in whose way the last command of a task stands that its model sees as done; undefined when it may complete.
 * Only tasks that a team's autopilot runs, and that ran something.
 */
export async function findClosedGate(
  unit: Unit,
  deps: { log: Log },
  task: TaskRow,
): Promise<GateReason | undefined> {
  if (task.teamId === null || task.mode === 'manual') return undefined;
  const gates = await readGates({ db: unit.trx, log: deps.log });
  if (!gates.enabled || !gates.autopilot_enforce) return undefined;
  const commands = await listTaskCommands(unit.trx, task.id, task.runNo);
  const last = commands.sort(
    (a, b) =>
      (b.stepNo ?? 0) - (a.stepNo ?? 0) || b.attempt - a.attempt || (a.commandId < b.commandId ? 1 : -1),
  )[0];
  if (last === undefined) return undefined;
  const output = await readJudgedOutput(unit, last);
  const { isPassed, reason } = judgeQuality(gates, { exitCode: last.exitCode, output }, task);
  return isPassed ? undefined : reason;
}
