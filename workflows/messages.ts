/**
 * Signals of the task workflow, and the inbox that keeps them.
 *
 * A. Handlers only record; nothing is decided here. Rows are the truth, a signal rings the bell.
 * B. Every signal is keyed by its step or batch, so a duplicate, early or stale one is harmless and nothing but the
 *    number of the step has to be carried over by continue-as-new.
 * C. A handler never throws: an error in a handler jams the workflow task for ever. Anyone who may write to the
 *    namespace can send a signal with a wrong argument; such a signal is ignored.
 */
import { defineSignal, setHandler } from '@temporalio/workflow';
import type { RolloutChangedSignal } from '../contracts/rollout-workflow.ts';
import type { TaskMode } from '../contracts/tasks.ts';
import {
  type AssignedSignal,
  type BatchFinishedSignal,
  type DecidedSignal,
  type EndedSignal,
  type ModeChangedSignal,
  type ProposeRequestedSignal,
  signalNames,
} from '../contracts/workflow-io.ts';

export const decidedSignal = defineSignal<[DecidedSignal]>(signalNames.decided);
export const batchFinishedSignal = defineSignal<[BatchFinishedSignal]>(signalNames.batchFinished);
export const proposeRequestedSignal = defineSignal<[ProposeRequestedSignal]>(signalNames.proposeRequested);
export const modeChangedSignal = defineSignal<[ModeChangedSignal]>(signalNames.modeChanged);
export const endedSignal = defineSignal<[EndedSignal]>(signalNames.ended);
export const assignedSignal = defineSignal<[AssignedSignal]>(signalNames.assigned);

export const rolloutChangedSignal = defineSignal<[RolloutChangedSignal]>(signalNames.rolloutChanged);

/** What has arrived so far. */
export interface Inbox {
  /** The decision of this step, if it was heard. `run` and `again` are last words, `hold` is not. */
  decisionOf(step: number): DecidedSignal | undefined;
  /** A decision of a later step was heard: this one is over, whatever was lost. */
  isOvertaken(step: number): boolean;
  isProposalRequested(step: number): boolean;
  /** The newest step that a proposal was asked for, 0 for none. */
  requestedStep(): number;
  /** The mode it was changed to, if it was. */
  mode(): TaskMode | undefined;
  isBatchFinished(batchId: string): boolean;
  /** The task has ended, or is to be canceled once its batch is in. */
  ended(): EndedSignal | undefined;
  /** How often it was heard that the task was given an agent. */
  assignments(): number;
  /** Something was heard that a run beginning at this step, with the request for a proposal, would miss. */
  hasNewsFor(step: number): boolean;
}

/** Set the handlers. Call it before anything is awaited, so that signals that came with the start are heard. */
export function openInbox(carriedRequest = 0): Inbox {
  const decisions = new Map<number, DecidedSignal>();
  const finishedBatches = new Set<string>();
  let lastDecidedStep = 0;
  let requestedStep = carriedRequest;
  let mode: TaskMode | undefined;
  let ended: EndedSignal | undefined;
  let assignments = 0;

  setHandler(decidedSignal, (signal) => {
    if (!isStep(signal) || !saysWhatFollows(signal)) return; // C
    const isLate = signal.then === 'hold' && decisions.has(signal.step);
    if (!isLate) decisions.set(signal.step, signal);
    lastDecidedStep = Math.max(lastDecidedStep, signal.step);
  });
  setHandler(batchFinishedSignal, (signal) => {
    if (typeof signal?.batchId === 'string') finishedBatches.add(signal.batchId); // C
  });
  setHandler(proposeRequestedSignal, (signal) => {
    if (isStep(signal)) requestedStep = Math.max(requestedStep, signal.step); // C
  });
  setHandler(modeChangedSignal, (signal) => {
    if (isMode(signal?.mode)) mode = signal.mode; // C
  });
  setHandler(endedSignal, (signal) => {
    // A real end is the last word; the request to cancel after the batch is not.
    if (signal?.end !== undefined) ended = ended?.end ? ended : signal; // C
  });

  setHandler(assignedSignal, () => {
    assignments += 1;
  });

  return {
    decisionOf: (step) => decisions.get(step),
    isOvertaken: (step) => lastDecidedStep > step,
    isProposalRequested: (step) => requestedStep >= step,
    requestedStep: () => requestedStep,
    mode: () => mode,
    isBatchFinished: (batchId) => finishedBatches.has(batchId),
    ended: () => ended,
    assignments: () => assignments,
    hasNewsFor: (step) => ended !== undefined || lastDecidedStep >= step,
  };
}

function isStep(signal: { step: number } | undefined): signal is { step: number } {
  return typeof signal?.step === 'number';
}

function isMode(mode: unknown): mode is TaskMode {
  return mode === 'manual' || mode === 'supervised' || mode === 'auto';
}

/** Without a batch to wait for, `run` would be heard again and again while the row says that nothing was decided. */
function saysWhatFollows({ then, batchId }: DecidedSignal): boolean {
  return then === 'run' ? typeof batchId === 'string' : then === 'again' || then === 'hold';
}
