/** Short words for the scripts of the scenarios. */
import assert from 'node:assert/strict';
import type { WorkflowFailedError } from '@temporalio/client';
import type { TaskEnd, TaskMode } from '../../contracts/tasks.ts';
import type { ProposeOutcome, TaskActivities, WorkflowSignal } from '../../contracts/workflow-io.ts';
import type { Play } from './scripted-worker.ts';

export const FAR_MS = 3_600_000;
export const BATCH = 'batch-1';
/** Three signals of this size make the server suggest continue-as-new (4 MiB of history). */
export const BIG_SIGNAL_BYTES = 1_500_000;

export const ended = (end: TaskEnd): ProposeOutcome => ({ kind: 'ended', end });
export const awaiting = (step: number, inMs = FAR_MS): ProposeOutcome => ({
  kind: 'awaiting',
  step,
  expiresAtMs: Date.now() + inMs,
});
export const waiting = (reason: 'no_agent' | 'blocked', retryAfterMs = FAR_MS): ProposeOutcome => ({
  kind: 'waiting',
  reason,
  retryAfterMs,
});
export const running = (step: number, batchId = BATCH): ProposeOutcome => ({
  kind: 'running',
  step,
  batchId,
});

export const decided = (
  step: number,
  then: 'run' | 'again' | 'hold',
  batchId: string | null = null,
): WorkflowSignal => ({ name: 'decided', arg: { step, then, batchId } });
export const batchFinished = (batchId = BATCH): WorkflowSignal => ({
  name: 'batchFinished',
  arg: { batchId },
});
export const requested = (step: number): WorkflowSignal => ({ name: 'proposeRequested', arg: { step } });
export const setTo = (mode: TaskMode): WorkflowSignal => ({ name: 'modeChanged', arg: { mode } });
export const assigned = (agentId = 'agent-1'): WorkflowSignal => ({ name: 'assigned', arg: { agentId } });
export const taskEnded = (end: TaskEnd | null): WorkflowSignal => ({ name: 'ended', arg: { end } });

/** Answers of `propose` by step; the last one is for all later steps. */
export const proposals =
  (...outcomes: (() => ProposeOutcome)[]): TaskActivities['propose'] =>
  async ({ step }) =>
    (outcomes[step - 1] ?? outcomes.at(-1) ?? (() => ended('failed')))();

export const endsAtOnce: TaskActivities['endTask'] = async ({ end }) => ({ kind: 'ended', end });

/** A batch is out at the first call, none at the second. */
export function drainsFirst(): TaskActivities['endTask'] {
  let isDrained = false;
  return async ({ end }) => {
    if (isDrained) return { kind: 'ended', end };
    isDrained = true;
    return { kind: 'draining', batchId: BATCH };
  };
}

/** At the first call the deadline is a later one, at the second it is over. */
export function movesFirst(byMs: number): TaskActivities['endTask'] {
  let isMoved = false;
  return async ({ end }) => {
    if (isMoved) return { kind: 'ended', end };
    isMoved = true;
    return { kind: 'open', deadlineAtMs: Date.now() + byMs };
  };
}

/** A promise and what resolves it. */
export function createGate(): { passed: Promise<void>; open: () => void } {
  let open = (): void => undefined;
  const passed = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { passed, open: () => open() };
}

export async function assertEnd(play: Play, end: TaskEnd, steps: number): Promise<void> {
  assert.deepEqual(await play.handle.result(), { end, steps });
}

/** The workflow shows as canceled in Temporal. */
export async function assertCanceled(play: Play): Promise<void> {
  await assert.rejects(play.handle.result(), (error: WorkflowFailedError) => {
    assert.equal(error.cause?.name, 'CancelledFailure');
    return true;
  });
}

/** Which deadlines were said to be over, in order. */
export const knownDeadlines = (play: Play): (number | undefined)[] =>
  play.calls
    .filter(({ activity }) => activity === 'endTask')
    .map(({ arg }) => (arg as { knownDeadlineAtMs?: number }).knownDeadlineAtMs);

/** What the task was asked to end with, in order. */
export const endsAsked = (play: Play): string[] =>
  play.calls
    .filter(({ activity }) => activity === 'endTask')
    .map(({ arg }) => {
      const { end, reason } = arg as { end: string; reason: string };
      return `${end}: ${reason}`;
    });
