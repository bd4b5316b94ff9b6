/**
 * The outcome of a step that was executed with a plan: another attempt, or a verdict.
 *
 *  A. Another attempt is a command of its own, and only after one that has ended and failed for certain. What may have
 *     started and is not known to have ended is never sent again: that would be for a person to decide.
 *  B. It is part of the decision that let the first one run, so it needs whoever decided to have that right still.
 *  C. All of it is decided under the task's row lock, and may be asked for again: a verdict is written once.
 */
import type { CommandState } from '../../contracts/command-states.ts';
import { isProblem } from '../../contracts/errors.ts';
import { type ProposeOutcome, type StepRef, taskWorkflowId } from '../../contracts/workflow-io.ts';
import { type CommandWithAct, listTaskCommands } from '../../db/commands.ts';
import { findStepPlan, type StepPlanRow, writeVerdict } from '../../db/step-plans.ts';
import { findStep, type StepRow, setStepBatch } from '../../db/steps.ts';
import { lockTask, type TaskRow, updateTask } from '../../db/tasks.ts';
import { getBatchAgents } from '../commands/agents.ts';
import { insertBatch } from '../commands/insert.ts';
import type { Actor } from '../deps.ts';
import { judgeQuality } from '../quality-gates.ts';
import { readGates } from '../step-policies.ts';
import { transact, type Unit } from '../transact.ts';
import { isNotForwarded } from '../url-agents/failure.ts';
import { findDecider } from './decider.ts';
import { endTaskRow } from './end.ts';
import { type EngineDeps, outcomeOfRow } from './engine.ts';
import { readJudgedOutput } from './gate-end.ts';
import { exitCodeOf } from './outcome-text.ts';

/** A (retry): the command has ended, and not as it should. */
const failedForCertain: readonly CommandState[] = ['failed', 'timed_out'];

type Deps = Omit<EngineDeps, 'llm'>;

export async function judgeStep(deps: Deps, ref: StepRef): Promise<ProposeOutcome> {
  return transact<ProposeOutcome>(deps, async (unit) => {
    const task = await lockTask(unit.trx, ref.taskId);
    const settled = await outcomeOfRow(unit, task, ref);
    if (task === undefined || settled === undefined) return settled ?? { kind: 'again', step: ref.step };
    if (settled.kind !== 'judge') return settled;
    const key = { taskId: task.id, runNo: task.runNo, stepNo: ref.step };
    const step = await findStep(unit.trx, task.id, task.runNo, ref.step);
    const plan = await findStepPlan(unit.trx, key);
    const last = await findLastAttempt(unit, task, ref.step);
    if (step === undefined || plan === undefined || last === undefined)
      return { kind: 'again', step: ref.step };
    const actor = await findDecider(unit.trx, deps, task, step);
    if (actor.mayExecute && task.stepNo === ref.step && isToBeRetried(plan, last)) {
      const afterMs = dueInMs(plan, last);
      if (afterMs > 0) return { kind: 'judge', step: ref.step, afterMs };
      const batchId = await retry(unit, deps, actor.actor, task, step, last);
      if (batchId !== undefined) return { kind: 'running', step: ref.step, batchId, judge: true };
    }
    return conclude(unit, deps, actor.actor, task, plan, last);
  });
}

async function findLastAttempt(
  unit: Unit,
  task: TaskRow,
  stepNo: number,
): Promise<CommandWithAct | undefined> {
  const commands = await listTaskCommands(unit.trx, task.id, task.runNo);
  return commands.filter((command) => command.stepNo === stepNo).sort((a, b) => b.attempt - a.attempt)[0];
}

/** A: is another attempt due after this one? */
export const isToBeRetried = (plan: StepPlanRow, last: CommandWithAct): boolean =>
  last.attempt <= (plan.retries ?? 0) && failedForCertain.includes(last.state);

function dueInMs(plan: StepPlanRow, last: CommandWithAct): number {
  const endedAt = last.finishedAt ?? last.createdAt;
  return Math.max(0, Math.ceil(endedAt.getTime() + plan.retryDelayMs - Date.now()));
}

/** The next attempt: the same act, bound by the same digest. Undefined where its agent may no longer be used. */
async function retry(
  unit: Unit,
  deps: Deps,
  actor: Actor,
  task: TaskRow,
  step: StepRow,
  last: CommandWithAct,
): Promise<string | undefined> {
  const agents = await getBatchAgents(unit.trx, step.agentIds).catch((error: unknown) => {
    if (isProblem(error, 'agent_revoked') || isProblem(error, 'agent_not_found')) return undefined;
    throw error;
  });
  if (agents === undefined) return undefined;
  const attempt = last.attempt + 1;
  const { batchId } = await insertBatch(unit, deps, actor, {
    act: step.act,
    binding: step.binding,
    agents,
    ownerId: task.creatorId,
    attempt,
    step: {
      taskId: task.id,
      runNo: task.runNo,
      step: step.stepNo,
      workflowId: taskWorkflowId(task.id, task.runNo),
    },
  });
  await setStepBatch(unit.trx, { taskId: task.id, runNo: task.runNo, stepNo: step.stepNo }, batchId);
  await updateTask(unit.trx, task.id, { state: 'running' });
  unit.emit('task.step_started', {
    taskId: task.id,
    batchId,
    ownerId: task.creatorId,
    data: { step: step.stepNo, attempt },
  });
  return batchId;
}

async function conclude(
  unit: Unit,
  deps: Deps,
  actor: Actor,
  task: TaskRow,
  plan: StepPlanRow,
  last: CommandWithAct,
): Promise<ProposeOutcome> {
  const { verdict, reason } = await judge(unit, deps, task, plan, last);
  await writeVerdict(unit.trx, plan, { verdict, reason });
  unit.emit('task.step_judged', {
    taskId: task.id,
    ownerId: task.creatorId,
    data: { step: plan.stepNo, verdict, reason, attempts: last.attempt },
  });
  const isItsEnd = plan.endsTask && task.stepNo === plan.stepNo;
  if (isItsEnd && isNotForwarded(last)) {
    // Nothing happened: the task waits for the next word, as before this one.
    await updateTask(unit.trx, task.id, { state: 'assigned' });
    return { kind: 'again', step: plan.stepNo };
  }
  if (!isItsEnd) return { kind: 'again', step: plan.stepNo };
  await endTaskRow(unit, actor, task, verdict, {
    success: verdict === 'completed',
    summary: `step ${plan.stepNo} ${last.state} with exit code ${exitCodeOf(last) ?? 'unknown'} (${reason})`,
    reason: verdict === 'completed' ? null : reason,
  });
  return { kind: 'ended', end: verdict };
}

/** The state of the command where that says enough, else what the quality gates say. */
async function judge(
  unit: Unit,
  deps: Deps,
  task: TaskRow,
  plan: StepPlanRow,
  last: CommandWithAct,
): Promise<{ verdict: 'completed' | 'failed'; reason: string }> {
  if (last.state !== 'succeeded' && last.state !== 'failed') return { verdict: 'failed', reason: last.state };
  const gates = await readGates({ db: unit.trx, log: deps.log });
  const output = await readJudgedOutput(unit, last);
  const { isPassed, reason } = judgeQuality(gates, { exitCode: last.exitCode, output }, task);
  // Whoever executes a step in manual mode is shown what it printed and judges it; elsewhere nobody may be looking.
  const isEnforced = plan.endsTask ? gates.execute_enforce : gates.autopilot_enforce;
  const hasFailed = last.state === 'failed' || (isEnforced && !isPassed);
  return { verdict: hasFailed ? 'failed' : 'completed', reason };
}
