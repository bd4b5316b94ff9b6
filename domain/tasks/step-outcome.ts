/** Reading what became of a step that was asked for or executed: for whoever waits for it. */

import { actText } from '../../contracts/act.ts';
import { type CommandState, isFinalCommandState } from '../../contracts/command-states.ts';
import { problem } from '../../contracts/errors.ts';
import type { TaskState } from '../../contracts/states.ts';
import { type CommandWithAct, listTaskCommands } from '../../db/commands.ts';
import { findStepPlan, type StepPlanRow } from '../../db/step-plans.ts';
import { findStep } from '../../db/steps.ts';
import type { TaskRow } from '../../db/tasks.ts';
import { findUrlProposal } from '../../db/url-proposals.ts';
import type { Actor, DomainDeps } from '../deps.ts';
import { assertCan } from '../policy.ts';
import { urlFailureOf } from '../url-agents/failure.ts';
import type { Comparison } from './compare-models.ts';
import { isToBeRetried } from './judge-step.ts';
import { getTaskRow } from './load.ts';
import { exitCodeOf, readOutputTexts } from './outcome-text.ts';
import type { StepAddress } from './step-address.ts';
import { rawAnswer } from './step-history.ts';

/** Most output of each stream in an answer about one step, bytes. */
export const MAX_OUTCOME_BYTES = 1024 * 1024;

export interface ProposedStep {
  /** State of the task. */
  state: TaskState;
  step: number;
  reason: string;
  /** null: the model sees the task as over and has ended it. */
  command: string | null;
  raw: string;
  /** Tools of its own that an agent with an address proposes. */
  toolCalls: unknown[] | null;
  comparisons: Record<string, Comparison> | null;
}

/**
 * The proposal, or the end that came instead of one; undefined while either may still come.
 * @throws task_not_found, no_agent, model_unavailable, forwarding_failed, task_not_open (it ended for another reason)
 */
export async function findProposedStep(
  deps: DomainDeps,
  actor: Actor,
  publicId: string,
  address: StepAddress,
): Promise<ProposedStep | undefined> {
  const task = await getTaskRow(deps, actor, publicId, 'read');
  const step = await findStep(deps.db, address.taskId, address.runNo, address.stepNo);
  const plan = await findStepPlan(deps.db, address);
  const comparisons = (plan?.comparisons ?? null) as Record<string, Comparison> | null;
  const shared = { state: task.state, step: address.stepNo, toolCalls: null, comparisons };
  if (step !== undefined) {
    const command = actText(step.act);
    return { ...shared, reason: step.reason, command, raw: rawAnswer(step.reason, command) };
  }
  const told = await findUrlProposal(deps.db, address);
  if (told?.kind === 'failed') {
    throw problem('forwarding_failed', {}, { details: { details: told.reason } });
  }
  if (told !== undefined) {
    const { reason, raw, toolCalls } = told;
    return {
      ...shared,
      reason,
      command: null,
      raw,
      toolCalls,
      comparisons: told.comparisons as typeof comparisons,
    };
  }
  if (task.runNo !== address.runNo)
    throw problem('task_not_open', { taskId: publicId, state: 'another run began' });
  if (task.endedAt === null) {
    if (task.waitingReason === 'no_agent') throw problem('no_agent', { taskId: publicId });
    return undefined;
  }
  return { ...shared, ...endInsteadOf(task) };
}

/** The model's own end of a task is an answer; any other is why there is none. */
function endInsteadOf(task: TaskRow): Pick<ProposedStep, 'reason' | 'command' | 'raw'> {
  const code = task.result?.reason ?? null;
  if (code?.startsWith('llm_')) throw problem('model_unavailable', {}, { details: { reason: code } });
  if (task.state !== 'completed' && code !== 'goal_not_reached') {
    throw problem('task_not_open', { taskId: task.publicId, state: task.state });
  }
  const reason = task.result?.summary ?? '';
  return { reason, command: null, raw: rawAnswer(reason, null) };
}

export interface ExecutedStep {
  status: 'completed' | 'failed';
  output: string;
  isOutputCut: boolean;
  exitCode: number;
  /** Of the last attempt. `unknown`: nobody knows whether it ran to its end. */
  outcome: CommandState;
  commandId: string;
  attempts: number;
  /** What the quality gates, or the state of the command, said; null where nobody judged. */
  verdictReason: string | null;
  /** Why an agent with an address gave no usable answer. */
  urlFailure: string | null;
}

export type StepProgress = { kind: 'ended'; step: ExecutedStep } | { kind: 'pending'; commandId: string };

/**
 * How far the execution of a step is.
 * @param isLast the caller gives up waiting: a command that has ended for good is an answer although nobody has
 *   judged it yet
 * @throws task_not_found, forbidden
 */
export async function readStepProgress(
  deps: DomainDeps,
  actor: Actor,
  publicId: string,
  address: StepAddress,
  { isLast }: { isLast: boolean },
): Promise<StepProgress> {
  assertCan(actor.principal, 'read', 'output');
  const task = await getTaskRow(deps, actor, publicId, 'read');
  const plan = await findStepPlan(deps.db, address);
  const commands = await listTaskCommands(deps.db, address.taskId, address.runNo);
  const last = commands
    .filter((command) => command.stepNo === address.stepNo)
    .sort((a, b) => b.attempt - a.attempt)[0];
  if (last === undefined) throw problem('step_not_found', { taskId: publicId, step: address.stepNo });
  const isOver =
    isFinalCommandState(last.state) && (isSettled(task, plan, address) || (isLast && !isRetried(plan, last)));
  if (!isOver) return { kind: 'pending', commandId: last.commandId };
  const written = {
    commandId: last.commandId,
    outputBytes: last.stdout.bytes + last.stderr.bytes,
    isTruncated: last.stdout.truncated || last.stderr.truncated,
  };
  const output = (await readOutputTexts(deps.db, [written], MAX_OUTCOME_BYTES)).get(last.commandId);
  return {
    kind: 'ended',
    step: {
      status: plan?.verdict ?? (last.state === 'succeeded' ? 'completed' : 'failed'),
      output: output?.text ?? '',
      isOutputCut: output?.isCut ?? false,
      exitCode: exitCodeOf(last) ?? -1,
      outcome: last.state,
      commandId: last.commandId,
      attempts: last.attempt,
      verdictReason: plan?.verdictReason ?? null,
      urlFailure: urlFailureOf(last),
    },
  };
}

/** Judged, or nobody will judge it: the task is over, or has gone on. */
function isSettled(task: TaskRow, plan: StepPlanRow | undefined, address: StepAddress): boolean {
  if (plan === undefined || plan.retries === null || plan.verdict !== null) return true;
  return task.endedAt !== null || task.runNo !== address.runNo;
}

const isRetried = (plan: StepPlanRow | undefined, last: CommandWithAct): boolean =>
  plan !== undefined && isToBeRetried(plan, last);
