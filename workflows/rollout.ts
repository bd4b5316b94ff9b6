/**
 * The rollout workflow: look at the rows, wait for what they wait for, look again, until they say that it has ended.
 *
 * A. Rows are the truth. Each look reads everything anew, so a signal that is lost, late or doubled does no harm; it only
 *    says that looking may be worth while.
 * B. Handlers only record, and never throw (see messages.ts).
 * C. Continue-as-new comes right before a look: what was heard until then is in the rows.
 * D. Canceled in Temporal shows as Canceled there.
 */
import {
  allHandlersFinished,
  CancellationScope,
  condition,
  continueAsNew,
  isCancellation,
  setCurrentDetails,
  setHandler,
  workflowInfo,
} from '@temporalio/workflow';
import type {
  RolloutOutcome,
  RolloutWorkflowInput,
  RolloutWorkflowResult,
} from '../contracts/rollout-workflow.ts';
import { batchFinishedSignal, rolloutChangedSignal } from './messages.ts';
import { rolloutRows } from './proxies.ts';
import { FIRST_BACKSTOP_MS, MAX_BACKSTOP_MS, MIN_WAIT_MS } from './waits.ts';

type Waiting = Exclude<RolloutOutcome, { kind: 'ended' | 'again' }>;

export async function rollout(input: RolloutWorkflowInput): Promise<RolloutWorkflowResult> {
  const finished = new Set<string>();
  let heardRev = 0;
  setHandler(batchFinishedSignal, (signal) => {
    if (typeof signal?.batchId === 'string') finished.add(signal.batchId); // B
  });
  setHandler(rolloutChangedSignal, (signal) => {
    if (typeof signal?.rev === 'number') heardRev = Math.max(heardRev, signal.rev); // B
  });

  try {
    return await advanceToEnd({ mayContinue: true });
  } catch (error) {
    if (!isCancellation(error)) throw error;
    const result = await CancellationScope.nonCancellable(async () => {
      await rolloutRows.cancelRollout({ ...input, reason: 'canceled in Temporal' });
      return advanceToEnd({ mayContinue: false });
    });
    if (result.end === 'canceled') throw error; // D
    return result;
  }

  async function advanceToEnd({ mayContinue }: { mayContinue: boolean }): Promise<RolloutWorkflowResult> {
    let backstopMs = FIRST_BACKSTOP_MS;
    for (;;) {
      if (mayContinue) await continueAsNewWhenLong();
      finished.clear(); // A: what they say is in the rows that are read next
      const outcome = await rolloutRows.advanceRollout(input);
      if (outcome.kind === 'ended') return { end: outcome.end, batches: outcome.batchNo };
      if (outcome.kind === 'again') continue;
      showPhase(outcome);
      const isWoken = await waitFor(outcome, backstopMs);
      backstopMs = isWoken ? FIRST_BACKSTOP_MS : Math.min(backstopMs * 2, MAX_BACKSTOP_MS);
    }
  }

  /** @returns false when only the time is over */
  async function waitFor(outcome: Waiting, backstopMs: number): Promise<boolean> {
    const isWoken = () =>
      heardRev > outcome.rev ||
      (outcome.kind === 'running' && outcome.batchIds.every((batchId) => finished.has(batchId)));
    const timeoutMs = outcome.kind === 'waiting' ? Math.max(outcome.waitMs, MIN_WAIT_MS) : backstopMs;
    // Asked first, because a condition with a timeout starts its timer even when it holds already.
    return isWoken() || condition(isWoken, timeoutMs);
  }

  async function continueAsNewWhenLong(): Promise<void> {
    if (!workflowInfo().continueAsNewSuggested) return;
    await condition(allHandlersFinished);
    await continueAsNew<typeof rollout>(input); // C
  }
}

function showPhase(outcome: Waiting): void {
  const phase = outcome.kind === 'waiting' ? `waiting for the ${outcome.for}` : outcome.kind;
  setCurrentDetails(`batch ${outcome.batchNo} of ${outcome.batchCount}: ${phase}`);
}
