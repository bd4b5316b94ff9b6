/**
 * The workflow's side of a task: propose, judge, time out, end. Each function reads the truth from the row, acts in one
 * transaction, and says what the workflow waits for next. All of them may be called again for the same step.
 */
import { v7 as uuidv7 } from 'uuid';
import type { ShellName } from '../../contracts/act.ts';
import { shellNames } from '../../contracts/act.ts';
import type { ActRequest } from '../../contracts/commands.ts';
import { problem } from '../../contracts/errors.ts';
import type {
  BatchStatus,
  EndTaskAnswer,
  ProposeOutcome,
  StepRef,
  TaskActivities,
} from '../../contracts/workflow-io.ts';
import { findBatch } from '../../db/batches.ts';
import {
  findStepPlan,
  type StepKey,
  type StepPlanRow,
  type StoredComparison,
  writeComparisons,
} from '../../db/step-plans.ts';
import { findStep, type StepRow } from '../../db/steps.ts';
import { claimTaskForStep, lockTask, pickAgent, type TaskRow, updateTask } from '../../db/tasks.ts';
import { findUrlProposal, insertUrlProposal, type UrlProposalAnswer } from '../../db/url-proposals.ts';
import {
  type EarlierStep,
  LlmError,
  type LlmPort,
  type ProposeAnswer,
  type ProposedCommand,
  type ProposedEnd,
  type ProposeRequest,
} from '../../llm/port.ts';
import { buildAct } from '../commands/act-request.ts';
import { type BatchAgent, getBatchAgents, resolveShell } from '../commands/agents.ts';
import { type DomainDeps, engineActor } from '../deps.ts';
import { transact, type Unit } from '../transact.ts';
import { type UrlAgentsPort, type UrlProposal, usageOfUrlAgent } from '../url-agents/propose.ts';
import { compareModels } from './compare-models.ts';
import { sendStep } from './decide.ts';
import { endOf, endTaskRow, ensureBell, stopTask } from './end.ts';
import { writeProposal } from './execute.ts';
import { findClosedGate } from './gate-end.ts';
import { readHistory } from './history.ts';
import { fitAnswer, plainProse } from './model-answer.ts';
import { findStandingApproval } from './standing-approval.ts';

/** How long a task without a fitting agent waits before it looks again, milliseconds. */
const NO_AGENT_RETRY_MS = 10_000;
/** How long a task that was put on hold after its workflow began waits before it looks again, milliseconds. */
const BLOCKED_RETRY_MS = 60_000;
/**
 * Shortest pause before the deadline of a task on hold is looked at again, milliseconds. One that is released in it and
 * has less time left expires so much later at most.
 */
const HELD_DEADLINE_RETRY_MS = 5 * 60_000;
/** A model that answers is asked again at once when its answer is of no use, this often in all. */
const MAX_BAD_ANSWERS = 3;
/** No further question after this long: it would outlast the activity, which would then begin anew. Milliseconds. */
const MAX_ASKING_MS = 50_000;
/** The model's own account of a command that cannot be run as it stands, kept this short. */
const MAX_NOTE_LENGTH = 4_000;

export type EngineDeps = DomainDeps & {
  llm: LlmPort;
  /** Agents with an address propose by themselves. Absent: they cannot be asked. */
  urlAgents?: UrlAgentsPort;
  /** The holder of the shared agent token may decide (AGENT_TOKEN_ADMIN); default false. */
  agentTokenAdmin?: boolean;
};

/** Asked before a batch goes out undecided: will the caller wait for it? Then its workflow is not told. */
export type Attend = (batchId: string) => boolean;

/** Claim, assign, ask the model, write the step or finish the task. An existing step row wins: no second model call. */
export async function proposeStep(
  deps: EngineDeps,
  ref: StepRef,
  signal: AbortSignal,
  attend: Attend = () => false,
): Promise<ProposeOutcome> {
  const claimed = await claimStep(deps, ref);
  if (claimed.kind !== 'ask') return claimed;
  const { task, agent } = claimed;
  const history = await readHistory(deps.db, task, ref.step);
  // Only where somebody asks for each step can they say what they want of it.
  const key = { taskId: task.id, runNo: task.runNo, stepNo: ref.step };
  const plan = task.mode === 'manual' ? await findStepPlan(deps.db, key) : undefined;
  if (agent.delivery === 'url') {
    const told =
      endByOutcome(task, agent.id, history) ?? (await askUrlAgent(deps, task, agent.id, plan, key, signal));
    return takeAnswer(deps, ref, agent, told, attend);
  }
  const asked = await askModels(
    deps,
    {
      prompt: plan?.prompt ?? null,
      task: {
        id: task.id,
        runNo: task.runNo,
        title: task.title,
        // Families know tasks with a title and nothing else.
        goal: task.goal || task.title,
      },
      step: ref.step,
      maxSteps: task.maxSteps,
      agent: {
        id: agent.id,
        hostname: agent.hostname,
        os: agent.os ?? 'unknown',
        shells: agent.shells,
        defaultShell: agent.defaultShell ?? 'sh',
      },
      history,
      actor: { principalId: task.creatorId },
    },
    { model: plan?.modelName ?? undefined, compared: plan?.compared ?? [], signal },
  );
  return takeAnswer(deps, ref, agent, asked, attend);
}

interface Asked {
  answer: ProposeAnswer | { kind: 'failed'; error: LlmError } | { kind: 'other'; answer: UrlProposalAnswer };
  comparisons: Record<string, StoredComparison> | null;
}

/**
 * An agent with an address proposes one step for a task and is not asked to judge it: where nobody asks for each step,
 * the task ends with the first one that ran.
 */
function endByOutcome(task: TaskRow, agentId: string, history: readonly EarlierStep[]): Asked | undefined {
  if (task.mode === 'manual') return undefined;
  const ran = history.findLast(({ outcome }) => outcome !== null && outcome.state !== 'rejected');
  if (ran === undefined || ran.outcome === null) return undefined;
  const { state, exitCode } = ran.outcome;
  const summary = `step ${ran.step} ${state} with exit code ${exitCode ?? 'unknown'}`;
  const success = state === 'succeeded';
  return { answer: { kind: 'done', success, summary, usage: usageOfUrlAgent(agentId) }, comparisons: null };
}

/** An agent with an address proposes by itself. @throws forwarding_failed where it is asked again later */
async function askUrlAgent(
  deps: EngineDeps,
  task: TaskRow,
  agentId: string,
  plan: StepPlanRow | undefined,
  key: StepKey,
  signal: AbortSignal,
): Promise<Asked> {
  const earlier = await findUrlProposal(deps.db, key);
  if (earlier !== undefined) return { answer: { kind: 'other', answer: earlier }, comparisons: null };
  const reason = 'agents with an address are not asked from here';
  const told: UrlProposal = (await deps.urlAgents?.propose(agentId, task, plan, signal)) ?? {
    kind: 'other',
    answer: { kind: 'failed', reason },
  };
  if (told.kind === 'answer')
    return { answer: told.answer, comparisons: told.comparisons as Asked['comparisons'] };
  // Somebody waits for the answer, whatever it is; elsewhere the workflow asks again, with pauses.
  if (task.mode === 'manual') return { answer: told, comparisons: null };
  const why = told.answer.kind === 'failed' ? told.answer.reason : 'it proposes tools of its own';
  throw problem('forwarding_failed', {}, { details: { reason: why } });
}

async function takeAnswer(
  deps: EngineDeps,
  ref: StepRef,
  agent: BatchAgent,
  { answer, comparisons }: Asked,
  attend: Attend,
): Promise<ProposeOutcome> {
  const key = { taskId: ref.taskId, runNo: ref.runNo, stepNo: ref.step };
  return transact(deps, async (unit) => {
    const locked = await lockTask(unit.trx, ref.taskId);
    const settled = await outcomeOfRow(unit, locked, ref);
    if (settled !== undefined || locked === undefined) return settled ?? { kind: 'ended', end: 'canceled' };
    if (comparisons !== null) await writeComparisons(unit.trx, key, comparisons);
    if (answer.kind === 'failed') return giveUp(unit, deps, locked, answer.error);
    if (answer.kind === 'other') return passOver(unit, locked, key, answer.answer);
    // The agent changed while the model was thinking: its answer was for another machine.
    if (locked.agentId !== agent.id) return { kind: 'waiting', reason: 'reassigned', retryAfterMs: 0 };
    if (answer.kind === 'done') return finish(unit, deps, locked, answer);
    return propose(unit, deps, locked, agent, ref, answer, attend);
  });
}

interface Asking {
  /** undefined: the configured one. */
  model: string | undefined;
  /** Names of models that are asked the same beside it. */
  compared: readonly string[];
  signal: AbortSignal;
}

/** The answer that counts, and what others said. @throws as askModel; then the others are asked again as well */
async function askModels(deps: EngineDeps, request: ProposeRequest, { model, compared, signal }: Asking) {
  if (compared.length === 0)
    return { answer: await askModel(deps, request, { model, signal }), comparisons: null };
  const failing = new AbortController();
  const others = compareModels(deps, compared, request, AbortSignal.any([signal, failing.signal]));
  others.catch(() => undefined); // it is of no interest once the answer that counts has failed
  try {
    const answer = await askModel(deps, request, { model, signal });
    return { answer, comparisons: await others.then((told) => told(answer)) };
  } catch (error) {
    failing.abort(error);
    throw error;
  }
}

/** @throws LlmError where the same question may have an answer later: the workflow asks again, with pauses */
async function askModel(
  deps: EngineDeps,
  request: ProposeRequest,
  { model, signal }: Pick<Asking, 'model' | 'signal'>,
): Promise<ProposeAnswer | { kind: 'failed'; error: LlmError }> {
  const startedAt = performance.now();
  for (let badAnswers = 1; ; badAnswers++) {
    try {
      return fitAnswer(await deps.llm.propose(request, { signal, model }));
    } catch (error) {
      if (!(error instanceof LlmError)) throw error;
      const isBadAnswer = error.code === 'llm_bad_answer';
      const hasTime = performance.now() - startedAt < MAX_ASKING_MS;
      if (isBadAnswer && badAnswers < MAX_BAD_ANSWERS && hasTime) continue;
      if (error.retryable && !isBadAnswer) throw error;
      return { kind: 'failed', error };
    }
  }
}

/** The model cannot or will not plan this task, now or later. */
async function giveUp(unit: Unit, deps: EngineDeps, task: TaskRow, error: LlmError): Promise<ProposeOutcome> {
  deps.log.warn({ event: 'task_model_gave_up', taskId: task.id, code: error.code, err: error });
  const result = { success: false, summary: plainProse(error.message), reason: error.code };
  await endTaskRow(unit, engineActor, task, 'failed', result);
  return { kind: 'ended', end: 'failed' };
}

/** There is no step of this number: its agent proposed none. Whoever asked is told why, and may ask for the next. */
async function passOver(
  unit: Unit,
  task: TaskRow,
  key: StepKey,
  answer: UrlProposalAnswer,
): Promise<ProposeOutcome> {
  await insertUrlProposal(unit.trx, key, answer);
  await updateTask(unit.trx, task.id, { state: 'assigned', stepNo: key.stepNo });
  unit.emit('task.updated', {
    taskId: task.id,
    ownerId: task.creatorId,
    data: { step: key.stepNo, proposal: answer.kind },
  });
  return { kind: 'again', step: key.stepNo };
}

type Claimed = ProposeOutcome | { kind: 'ask'; task: TaskRow; agent: BatchAgent };

/** Before the model is asked: is there anything to ask, and on which agent? */
async function claimStep(deps: EngineDeps, ref: StepRef): Promise<Claimed> {
  const claimed = await claimTaskForStep(deps.db, ref);
  return claimed === undefined ? claimUnusualStep(deps, ref) : { kind: 'ask', ...claimed };
}

/** The same under the row's lock, for every case: no agent yet, ended, canceled, decided before, too many steps. */
async function claimUnusualStep(deps: EngineDeps, ref: StepRef): Promise<Claimed> {
  return transact<Claimed>(deps, async (unit) => {
    const task = await lockTask(unit.trx, ref.taskId);
    const settled = await outcomeOfRow(unit, task, ref);
    if (settled !== undefined || task === undefined) return settled ?? { kind: 'ended', end: 'canceled' };
    if (task.state === 'blocked')
      return { kind: 'waiting', reason: 'blocked', retryAfterMs: BLOCKED_RETRY_MS };
    if (ref.step > task.maxSteps) {
      const summary = `not finished after ${task.maxSteps} steps`;
      await endTaskRow(unit, engineActor, task, 'failed', { success: false, summary, reason: 'max_steps' });
      return { kind: 'ended', end: 'failed' };
    }
    const agentId = task.agentId ?? (await pickAgent(unit.trx, task.target));
    if (agentId === undefined) {
      if (task.waitingReason !== 'no_agent') {
        await updateTask(unit.trx, task.id, { waitingReason: 'no_agent' });
        unit.emit('task.waiting', { taskId: task.id, ownerId: task.creatorId, data: { reason: 'no_agent' } });
      }
      return { kind: 'waiting', reason: 'no_agent', retryAfterMs: NO_AGENT_RETRY_MS };
    }
    const [agent] = await getBatchAgents(unit.trx, [agentId]);
    if (agent === undefined) throw new Error(`agent ${agentId} vanished`);
    if (task.agentId === null) {
      unit.emit('task.assigned', { taskId: task.id, agentId, ownerId: task.creatorId, data: {} });
    }
    const proposing = await updateTask(unit.trx, task.id, {
      agentId,
      state: 'proposing',
      waitingReason: null,
    });
    return { kind: 'ask', task: proposing, agent };
  });
}

/** What the rows already say about this step, or undefined when it is still to be proposed. */
export async function outcomeOfRow(
  unit: Unit,
  task: TaskRow | undefined,
  ref: StepRef,
): Promise<ProposeOutcome | undefined> {
  if (task === undefined || task.runNo !== ref.runNo) return { kind: 'ended', end: 'canceled' };
  if (task.endedAt !== null) return { kind: 'ended', end: endOf(task) };
  if (task.cancelRequestedAt !== null) {
    const stopped = await stopTask(unit, engineActor, task, 'canceled', task.cancelReason ?? 'canceled');
    if (stopped.kind === 'ended') return { kind: 'ended', end: endOf(stopped.task) };
    return { kind: 'running', step: task.stepNo, batchId: stopped.batchId };
  }
  // Whoever writes a step raises the task's step number with it.
  if (ref.step > task.stepNo) return undefined;
  const step = await findStep(unit.trx, task.id, task.runNo, ref.step);
  return step === undefined ? undefined : outcomeOfStep(unit, task, step);
}

async function outcomeOfStep(unit: Unit, task: TaskRow, step: StepRow): Promise<ProposeOutcome> {
  switch (step.decision) {
    case null:
      return { kind: 'awaiting', step: step.stepNo, expiresAtMs: step.expiresAt.getTime() };
    case 'approve':
    case 'edit': {
      if (step.batchId === null) return { kind: 'held', step: step.stepNo };
      const batch = await findBatch(unit.trx, step.batchId);
      const isOut = batch !== undefined && batch.pending > 0 && (await ensureBell(unit, task, batch));
      const plan = await findStepPlan(unit.trx, { taskId: task.id, runNo: task.runNo, stepNo: step.stepNo });
      const isJudged = plan !== undefined && plan.retries !== null && plan.verdict === null;
      if (!isOut)
        return isJudged
          ? { kind: 'judge', step: step.stepNo, afterMs: 0 }
          : { kind: 'again', step: step.stepNo };
      return { kind: 'running', step: step.stepNo, batchId: step.batchId, ...(isJudged && { judge: true }) };
    }
    case 'reject':
    case 'void':
      return { kind: 'again', step: step.stepNo };
    case 'expire':
    case 'cancel':
      return { kind: 'ended', end: endOf(task) };
  }
}

/** The model judged the outcome: the task is over. */
async function finish(
  unit: Unit,
  deps: EngineDeps,
  task: TaskRow,
  answer: ProposedEnd,
): Promise<ProposeOutcome> {
  const gate = answer.success ? await findClosedGate(unit, deps, task) : undefined;
  const success = answer.success && gate === undefined;
  const end = success ? 'completed' : 'failed';
  await endTaskRow(unit, engineActor, task, end, {
    success,
    summary: answer.summary,
    reason: success ? null : (gate ?? 'goal_not_reached'),
  });
  return { kind: 'ended', end };
}

async function propose(
  unit: Unit,
  deps: EngineDeps,
  task: TaskRow,
  agent: BatchAgent,
  ref: StepRef,
  answer: ProposedCommand,
  attend: Attend,
): Promise<ProposeOutcome> {
  const request: ActRequest = { command: answer.command, ...shellOf(answer, agent) };
  const act = buildAct(request, deps.limits, {
    shell: () => resolveShell([agent]),
    timeoutMs: task.commandTimeoutMs,
    expiryMs: task.expiryMs,
  });
  const standing = await findStandingApproval(unit, deps, task, ref, act);
  const approval = standing && { ...standing, batchId: uuidv7() };
  const step = await writeProposal(
    unit,
    task,
    {
      stepNo: ref.step,
      origin: 'model',
      author: { kind: 'model', id: answer.usage.model, name: answer.usage.model },
      act,
      agentIds: [agent.id],
      reason: answer.reason.slice(0, MAX_NOTE_LENGTH),
      expectedEffect: answer.expectedEffect.slice(0, MAX_NOTE_LENGTH),
      usage: answer.usage,
    },
    approval,
  );
  if (approval !== undefined) {
    const { by, batchId } = approval;
    await sendStep(unit, deps, by, task, step, { batchId, agents: [agent], isAttended: attend(batchId) });
    return { kind: 'running', step: step.stepNo, batchId };
  }
  await updateTask(unit.trx, task.id, { state: 'awaiting_decision', stepNo: step.stepNo });
  return { kind: 'awaiting', step: step.stepNo, expiresAtMs: step.expiresAt.getTime() };
}

/** The shell the model named when the agent has it; otherwise the agent's default one. */
function shellOf(answer: ProposedCommand, agent: BatchAgent): { shell?: ShellName } {
  const named = shellNames.find((name) => name === answer.shell);
  return named !== undefined && agent.shells.includes(named) ? { shell: named } : {};
}

/** The approval timer fired: it competes for the row like every decision. */
export async function expireApproval(deps: DomainDeps, ref: StepRef): Promise<ProposeOutcome> {
  return transact<ProposeOutcome>(deps, async (unit) => {
    const task = await lockTask(unit.trx, ref.taskId);
    if (task === undefined || task.runNo !== ref.runNo) return { kind: 'ended', end: 'canceled' };
    if (task.endedAt !== null) return { kind: 'ended', end: endOf(task) };
    const step = await findStep(unit.trx, task.id, task.runNo, ref.step);
    if (step === undefined) return { kind: 'again', step: ref.step };
    if (step.decision !== null || step.expiresAt.getTime() > Date.now())
      return outcomeOfStep(unit, task, step);
    const stopped = await stopTask(unit, engineActor, task, 'expired', 'approval_timeout');
    return stopped.kind === 'ended'
      ? { kind: 'ended', end: 'expired' }
      : { kind: 'running', step: step.stepNo, batchId: stopped.batchId };
  });
}

/** Is the batch in? The backstop of a lost signal. */
export async function readBatch(deps: DomainDeps, batchId: string): Promise<BatchStatus> {
  const batch = await findBatch(deps.db, batchId);
  return { finished: batch === undefined || batch.pending === 0, pending: batch?.pending ?? 0 };
}

/**
 * End a task from the engine's side. `draining`: a batch is still out; call again when it is in. `open`: the deadline
 * that was to end it has moved. That it is over is for the workflow to say: the clocks of two machines differ.
 */
export async function endTask(
  deps: DomainDeps,
  input: Parameters<TaskActivities['endTask']>[0],
): Promise<EndTaskAnswer> {
  return transact<EndTaskAnswer>(deps, async (unit) => {
    const task = await lockTask(unit.trx, input.taskId);
    if (task === undefined || task.runNo !== input.runNo) return { kind: 'ended', end: 'canceled' };
    if (task.endedAt !== null) return { kind: 'ended', end: endOf(task) };
    const knownAtMs = input.end === 'expired' ? input.knownDeadlineAtMs : undefined;
    if (knownAtMs !== undefined && task.cancelRequestedAt === null) {
      const deadlineAtMs = deadlineOf(task, knownAtMs);
      if (deadlineAtMs > knownAtMs) return { kind: 'open', deadlineAtMs };
    }
    const stopped = await stopTask(unit, engineActor, task, input.end, task.cancelReason ?? input.reason);
    return stopped.kind === 'ended'
      ? { kind: 'ended', end: endOf(stopped.task) }
      : { kind: 'draining', batchId: stopped.batchId };
  });
}

/** When the time of an open task is over; of one on hold, if it is released now, which is after `knownAtMs`. */
function deadlineOf({ deadlineAt, blockedAt }: TaskRow, knownAtMs: number): number {
  if (blockedAt === null) return deadlineAt.getTime();
  const leftMs = deadlineAt.getTime() - blockedAt.getTime();
  return Math.max(Date.now(), knownAtMs) + Math.max(leftMs, HELD_DEADLINE_RETRY_MS);
}
