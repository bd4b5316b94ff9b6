/**
 * The task workflow: step after step of propose → decision → batch, until the task's row says that it has ended.
 *
 * A. Rows are the truth. Whatever a signal, timer or cancel says, an activity that competes in Postgres has the last word.
 * B. No continue-as-new with a batch out: only between steps, while waiting for an agent, and in manual mode undecided.
 * C. Expected ends are values; the workflow fails only by a bug. Canceled in Temporal shows as Canceled there.
 */
import {
  ActivityFailure,
  ApplicationFailure,
  allHandlersFinished,
  CancellationScope,
  condition,
  continueAsNew,
  isCancellation,
  patched,
  setCurrentDetails,
  sleep,
  TimeoutFailure,
  workflowInfo,
} from '@temporalio/workflow';
import type { TaskEnd } from '../contracts/tasks.ts';
import type {
  DecidedSignal,
  ProposeOutcome,
  StepRef,
  TaskPhase,
  TaskWorkflowInput,
  TaskWorkflowResult,
} from '../contracts/workflow-io.ts';
import { openInbox } from './messages.ts';
import { model, rows } from './proxies.ts';
import { FIRST_BACKSTOP_MS, MAX_BACKSTOP_MS, MIN_WAIT_MS } from './waits.ts';

/** Since then a task that waits for an agent goes on when it hears that it was given one. */
const HEARS_ASSIGNMENTS = 'hears-assignments';
/** Since then the next run is told of a proposal that was asked for; before, it could not begin while there was one. */
const CARRIES_REQUESTS = 'carries-requests';

type Woken = 'ready' | 'timeout' | 'interrupted';
type Waiting = Extract<ProposeOutcome, { kind: 'waiting' }>;
type Ended = Extract<ProposeOutcome, { kind: 'ended' }>;
/** `moved`: the deadline that interrupted is a later one now; look where the step stands. */
type Outcome = ProposeOutcome | { kind: 'moved' };

export async function task(input: TaskWorkflowInput): Promise<TaskWorkflowResult> {
  // A run that an older worker began has not heard of it, and goes on so.
  const isCarried = input.requestedStep !== undefined && patched(CARRIES_REQUESTS);
  const inbox = openInbox(isCarried ? input.requestedStep : undefined);
  const endedBell = condition(() => inbox.ended() !== undefined);
  endedBell.catch(() => undefined); // rejects when Temporal cancels, which every other wait reports as well
  let step = input.step ?? 1;
  let deadlineAtMs = input.deadlineAtMs;
  /** Of these the newest look at the row knew. */
  let knownAssignments = 0;

  try {
    return { end: await runSteps(), steps: step };
  } catch (error) {
    if (!isCancellation(error)) throw error;
    const end = await CancellationScope.nonCancellable(() => finish('canceled', 'canceled in Temporal'));
    if (end === 'canceled') throw error; // C
    return { end: end ?? 'canceled', steps: step };
  }

  async function runSteps(): Promise<TaskEnd> {
    for (; ; step++) {
      await continueAsNewWhenLong();
      const end = await runStep();
      if (end !== null) return end;
    }
  }

  /** One step from words to outcome. @returns the task's end, or null to go on with the next step */
  async function runStep(): Promise<TaskEnd | null> {
    let outcome = await begin();
    for (;;) {
      switch (outcome.kind) {
        case 'moved':
          // On hold for long it is asked again and again. Undecided it has no batch out in this mode (B).
          if (isManual()) await continueAsNewWhenLong();
          outcome = await begin();
          break;
        case 'ended':
          return outcome.end;
        case 'again':
          return null;
        case 'waiting':
          outcome = await awaitAgent(outcome);
          break;
        case 'awaiting':
          outcome = await awaitDecision(outcome.expiresAtMs);
          break;
        case 'held':
          outcome = await awaitExecution();
          break;
        case 'running':
          outcome = await awaitBatch(outcome.batchId, outcome.judge === true);
          break;
        case 'judge':
          outcome = await awaitJudgement(outcome.afterMs);
          break;
      }
    }
  }

  function begin(): Promise<Outcome> {
    return isManual() ? awaitRequest() : propose();
  }

  /** As it was started, unless its row was set to another mode since. */
  function isManual(): boolean {
    return (inbox.mode() ?? input.mode) === 'manual';
  }

  /** Manual mode: nothing happens until somebody asks for a proposal or executes an act of their own. */
  async function awaitRequest(): Promise<Outcome> {
    showPhase('held');
    const woken = await wait(() => inbox.isProposalRequested(step) || isDecided() || !isManual());
    if (woken === 'interrupted') return conclude();
    return isDecided() ? heardDecision() : propose();
  }

  async function propose(): Promise<Outcome> {
    if (isInterrupted()) return conclude();
    showPhase('proposing');
    knownAssignments = inbox.assignments();
    const asking = new CancellationScope();
    try {
      const leftMs = deadlineAtMs - Date.now();
      const answer = await Promise.race([
        asking.run(() => model(leftMs).propose(stepRef())),
        endedBell.then(() => undefined),
      ]);
      if (answer !== undefined) return goOnWith(answer);
    } catch (error) {
      if (isCancellation(error) || !(error instanceof ActivityFailure)) throw error;
      // Without time for another attempt the task has expired, whatever the last attempt failed of.
      if (error.retryState === 'TIMEOUT' || isOutOfTime(error)) return expire();
      return { kind: 'ended', end: (await finish('failed', codeOf(error))) ?? 'failed' };
    }
    asking.cancel();
    return conclude();
  }

  /** The activity may have gone on to a later step by itself. */
  function goOnWith(outcome: ProposeOutcome): ProposeOutcome {
    if (outcome.kind !== 'waiting') step = Math.max(step, outcome.step ?? step);
    return outcome;
  }

  /** There is no agent yet, or the task is on hold. */
  async function awaitAgent({ reason, retryAfterMs }: Waiting): Promise<Outcome> {
    showPhase(reason === 'blocked' ? 'on hold' : 'waiting for an agent');
    const hearsAssignments = patched(HEARS_ASSIGNMENTS);
    const isAssigned = () => hearsAssignments && inbox.assignments() > knownAssignments;
    const woken = await wait(() => isDecided() || isAssigned(), Math.max(retryAfterMs, MIN_WAIT_MS));
    if (woken === 'interrupted') return conclude();
    if (isDecided()) return heardDecision();
    await continueAsNewWhenLong(); // B: nothing was proposed, so no batch is out
    return propose();
  }

  async function awaitDecision(expiresAtMs: number): Promise<Outcome> {
    showPhase('awaiting decision');
    const woken = await wait(isDecided, Math.max(expiresAtMs - Date.now(), MIN_WAIT_MS));
    if (woken === 'interrupted') return conclude();
    if (woken === 'ready') return heardDecision();
    return rows.expireApproval(stepRef()); // A: a decision in the same moment may have won
  }

  /** Manual mode: approved, and waiting for `execute`. Looks at the row now and then, as every waiter does. */
  async function awaitExecution(): Promise<Outcome> {
    showPhase('held');
    const isReleased = () => isDecided() && inbox.decisionOf(step)?.then !== 'hold';
    const woken = await wait(() => isReleased() || inbox.isOvertaken(step), MAX_BACKSTOP_MS);
    if (woken === 'interrupted') return conclude();
    return woken === 'ready' ? heardDecision() : propose();
  }

  async function awaitBatch(batchId: string, isJudged: boolean): Promise<Outcome> {
    showPhase('running');
    const isIn = await waitForBatch(batchId, isInterrupted);
    if (!isIn) return conclude();
    return isJudged || inbox.decisionOf(step)?.judge ? rows.judgeStep(stepRef()) : { kind: 'again', step };
  }

  /** Between a failed attempt and the next one that was asked for. */
  async function awaitJudgement(afterMs: number): Promise<Outcome> {
    showPhase('running');
    if (afterMs > 0 && (await wait(() => false, Math.max(afterMs, MIN_WAIT_MS))) === 'interrupted')
      return conclude();
    return rows.judgeStep(stepRef());
  }

  /** @returns true when the batch is in, false when `isStopped` said so first */
  async function waitForBatch(batchId: string, isStopped: () => boolean): Promise<boolean> {
    const isFinished = () => inbox.isBatchFinished(batchId);
    for (let backstopMs = FIRST_BACKSTOP_MS; ; backstopMs = Math.min(backstopMs * 2, MAX_BACKSTOP_MS)) {
      const untilDeadlineMs = deadlineAtMs - Date.now();
      const timeoutMs = untilDeadlineMs > 0 ? Math.min(backstopMs, untilDeadlineMs) : backstopMs;
      const isWoken = () => isFinished() || isStopped();
      if (!isWoken()) await condition(isWoken, timeoutMs);
      if (isStopped()) return false;
      if (isFinished() || (await rows.readBatch(batchId)).finished) return true;
    }
  }

  /** Wait until `isReady`, at most `timeoutMs`; an end of the task or its deadline interrupts. */
  async function wait(isReady: () => boolean, timeoutMs = Number.POSITIVE_INFINITY): Promise<Woken> {
    const isWoken = () => isInterrupted() || isReady();
    // Asked first, because a condition with a timeout starts its timer even when it holds already.
    if (!isWoken()) await condition(isWoken, Math.min(timeoutMs, deadlineAtMs - Date.now()));
    if (isInterrupted()) return 'interrupted';
    return isReady() ? 'ready' : 'timeout';
  }

  function isInterrupted(): boolean {
    return inbox.ended() !== undefined || Date.now() >= deadlineAtMs;
  }

  /** After an interruption: end the task's row, unless it has ended already. */
  async function conclude(): Promise<Outcome> {
    const heard = inbox.ended();
    if (heard === undefined) return expire();
    return { kind: 'ended', end: heard.end ?? (await finish('canceled', 'cancel_requested')) ?? 'canceled' };
  }

  async function expire(): Promise<Ended | { kind: 'moved' }> {
    const end = await finish('expired', 'deadline');
    return end === undefined ? { kind: 'moved' } : { kind: 'ended', end };
  }

  /**
   * End the row from this side. A batch that is out is stopped and waited for first: its outcomes belong to the task.
   * @returns undefined where it was to expire and has time left: its deadline is known then
   */
  async function finish(
    end: 'canceled' | 'expired' | 'failed',
    reason: string,
  ): Promise<TaskEnd | undefined> {
    showPhase('ending');
    const run = { taskId: input.taskId, runNo: input.runNo };
    for (let pauseMs = 0; ; pauseMs = Math.min(Math.max(pauseMs * 2, MIN_WAIT_MS), FIRST_BACKSTOP_MS)) {
      const answer = await rows.endTask({ ...run, end, reason, knownDeadlineAtMs: deadlineAtMs });
      if (answer.kind === 'ended') return answer.end;
      if (answer.kind === 'open') {
        deadlineAtMs = Math.max(answer.deadlineAtMs, Date.now() + MIN_WAIT_MS);
        return undefined;
      }
      if (inbox.isBatchFinished(answer.batchId))
        await sleep(pauseMs); // heard, but the row does not say so yet
      else await waitForBatch(answer.batchId, () => false);
    }
  }

  function isDecided(): boolean {
    return inbox.decisionOf(step) !== undefined || inbox.isOvertaken(step);
  }

  async function heardDecision(): Promise<Outcome> {
    const decision = inbox.decisionOf(step);
    const isLastWord = decision !== undefined && (decision.then !== 'hold' || !inbox.isOvertaken(step));
    return isLastWord ? (outcomeOf(decision) ?? propose()) : { kind: 'again', step };
  }

  async function continueAsNewWhenLong(): Promise<void> {
    // What was heard for this step would be lost to the next run: take the step here and continue after it.
    if (!workflowInfo().continueAsNewSuggested || inbox.hasNewsFor(step)) return;
    const isRequested = inbox.isProposalRequested(step);
    if (isRequested && !patched(CARRIES_REQUESTS)) return;
    await condition(allHandlersFinished);
    const carried = isRequested ? { requestedStep: inbox.requestedStep() } : {};
    const mode = inbox.mode() ?? input.mode;
    await continueAsNew<typeof task>({ ...input, mode, step, deadlineAtMs, ...carried });
  }

  function stepRef(): StepRef {
    return { taskId: input.taskId, runNo: input.runNo, step };
  }

  function showPhase(phase: TaskPhase): void {
    setCurrentDetails(`step ${step} of at most ${input.maxSteps}: ${phase}`);
  }
}

/** What a decision means for the step; undefined when it does not say enough and the row has to be read. */
function outcomeOf({ step, then, batchId }: DecidedSignal): ProposeOutcome | undefined {
  if (then === 'again') return { kind: 'again', step };
  if (then === 'hold') return { kind: 'held', step };
  return batchId === null ? undefined : { kind: 'running', step, batchId };
}

/** The activity was still at it when all its time, which is the task's, was over. */
function isOutOfTime({ cause }: ActivityFailure): boolean {
  return cause instanceof TimeoutFailure && cause.timeoutType === 'SCHEDULE_TO_CLOSE';
}

function codeOf(error: ActivityFailure): string {
  return error.cause instanceof ApplicationFailure && error.cause.type ? error.cause.type : 'internal_error';
}
