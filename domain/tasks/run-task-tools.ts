/** Run tools of the hub for a task. They are no commands and no steps: what was done is kept beside them. */
import { v7 as uuidv7 } from 'uuid';
import { isProblem, problem } from '../../contracts/errors.ts';
import { findOpenBatch } from '../../db/batches.ts';
import { findToolRun, insertToolRun, type ToolRunRow } from '../../db/tool-runs.ts';
import type { Actor, DomainDeps } from '../deps.ts';
import type { HubTools } from '../hub-tools/run.ts';
import type { ToolCall } from '../hub-tools/tool.ts';
import { claimRequest, type RequestKey } from '../idempotency.ts';
import { transact, type Unit } from '../transact.ts';
import { stopTask, tellWorkflow } from './end.ts';
import { reportedFailure } from './end-reasons.ts';
import { assertNotBlocked, lockTaskRow } from './load.ts';
import { toolRunText } from './tool-run-text.ts';
import { isUnjudged } from './unjudged.ts';

export interface TaskToolRun {
  isSuccess: boolean;
  /** What the tools answered, as text. */
  output: string;
}

/**
 * Run the calls, one after the other, and keep what came of them.
 * @param options.isWhole nothing else is executed with them: a task in manual mode ends with the outcome, and where a
 *   command follows (false) only with a failure
 * @throws forbidden, task_not_found, task_blocked, command_running, tool_guardrail_blocked, conflict (the request is
 *   repeated while the first one runs), idempotency_conflict
 */
export async function runTaskTools(
  deps: DomainDeps & { tools: HubTools },
  actor: Actor,
  publicId: string,
  calls: readonly ToolCall[],
  options: { isWhole: boolean; requestKey: RequestKey | null },
): Promise<TaskToolRun> {
  const runId = uuidv7();
  const begun = await transact(deps, async (unit) => {
    const task = await lockTaskRow(unit, actor, publicId, 'execute');
    // The command that is executed with them has the key itself.
    const requestKey = options.requestKey && {
      ...options.requestKey,
      key: `${options.requestKey.key} tools`,
    };
    const made = await claimRequest(unit.trx, actor.principal, requestKey, 'task.tools', runId);
    if (made !== undefined) return { repeated: await earlierRun(unit, made) };
    assertNotBlocked(task);
    const batch = await findOpenBatch(unit.trx, task.id, task.runNo);
    if (batch !== undefined) {
      throw problem('command_running', { commandId: `of step ${batch.stepNo ?? '?'}`, state: 'running' });
    }
    const { id: taskId, runNo, creatorId: ownerId } = task;
    return { repeated: undefined, taskId, runNo, ownerId };
  });
  if (begun.repeated !== undefined) return presentRun(begun.repeated);
  const run = await runCalls(deps, actor, { ...begun, id: runId, publicId }, calls);
  await keep(deps, actor, publicId, run, { isWhole: options.isWhole, runNo: begun.runNo });
  return presentRun(run);
}

type FinishedRun = Omit<ToolRunRow, 'at'>;

async function earlierRun(unit: Unit, runId: string): Promise<FinishedRun> {
  const run = await findToolRun(unit.trx, runId);
  if (run === undefined)
    throw problem('conflict', { reason: 'the first request with this key has not finished' });
  if (run.outcome === 'blocked')
    throw problem('conflict', { reason: 'the tools of this request were not run' });
  return run;
}

const presentRun = ({ outcome, results }: FinishedRun): TaskToolRun => ({
  isSuccess: outcome === 'completed',
  output: toolRunText(results),
});

async function runCalls(
  deps: DomainDeps & { tools: HubTools },
  actor: Actor,
  ref: { id: string; taskId: string; ownerId: string; publicId: string },
  calls: readonly ToolCall[],
): Promise<FinishedRun> {
  const { tools } = deps;
  const { kind: actorKind, id: actorId, name: actorName } = actor.principal;
  const shown = calls.map((call) => {
    const { name, args } = tools.masked(call);
    return { name, args: { ...args } };
  });
  const run = { id: ref.id, taskId: ref.taskId, actorKind, actorId, actorName, calls: shown };
  try {
    const results = await tools.run(actor, calls, { taskId: ref.publicId });
    const isSuccess = results.every(({ success }) => success);
    return { ...run, outcome: isSuccess ? 'completed' : 'failed', results };
  } catch (error) {
    // Kept as well: whoever looks at the task later sees what was asked of it.
    if (isProblem(error, 'tool_guardrail_blocked')) {
      const blocked: FinishedRun = { ...run, outcome: 'blocked', results: error.details ?? {} };
      await transact(deps, (unit) => write(unit, blocked, ref.ownerId));
    }
    throw error;
  }
}

/** The record of the run, and the end of a task that has no other. */
async function keep(
  deps: DomainDeps,
  actor: Actor,
  publicId: string,
  run: FinishedRun,
  { isWhole, runNo }: { isWhole: boolean; runNo: number },
): Promise<void> {
  await transact(deps, async (unit) => {
    const task = await lockTaskRow(unit, actor, publicId, 'read');
    await write(unit, run, task.creatorId);
    const isFailed = run.outcome === 'failed';
    if (task.mode !== 'manual' || task.endedAt !== null || !(isWhole || isFailed)) return;
    // While the tools ran somebody began anew, or executed a command: its outcome is the end then.
    const isRunning = (await findOpenBatch(unit.trx, task.id, task.runNo)) !== undefined;
    if (task.runNo !== runNo || isRunning || (await isUnjudged(unit, task))) return;
    const words = `tools run by ${actor.principal.name}: ${run.calls.map(({ name }) => name).join(', ')}`;
    const why = isFailed ? reportedFailure(words) : words;
    tellWorkflow(unit, await stopTask(unit, actor, task, isFailed ? 'failed' : 'completed', why));
  });
}

async function write(unit: Unit, run: FinishedRun, ownerId: string): Promise<void> {
  await insertToolRun(unit.trx, run);
  unit.emit('task.tools_run', {
    taskId: run.taskId,
    ownerId,
    data: { outcome: run.outcome, tools: run.calls.map(({ name }) => name) },
  });
}
