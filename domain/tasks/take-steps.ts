/**
 * Propose a step and, where policy lets it run undecided, stay for its outcome: a quick command's outcome is judged,
 * and the next step proposed, without a way through Temporal. What takes longer is the workflow's to wait for.
 */
import { type ProposeOutcome, type StepRef, taskWorkflowId } from '../../contracts/workflow-io.ts';
import { hangBatchBell } from '../../db/batch-bells.ts';
import { findBatch } from '../../db/batches.ts';
import type { Attendance, Attended } from './attendance.ts';
import { type EngineDeps, proposeStep } from './engine.ts';

/** How long to stay for a batch that was sent out here, milliseconds. Meanwhile the activity's slot is taken. */
const MAX_STAY_MS = 2_000;
/**
 * No further step is begun after this long, milliseconds: with it and a question to the model of full length the
 * activity still ends in its time, and what a worker that dies has to do again stays little.
 */
const MAX_GOING_ON_MS = 5_000;

export type TakeStepsDeps = EngineDeps & {
  /** Absent: every batch is waited for by its workflow. */
  attendance?: Attendance;
};

/** @returns what the workflow waits for now, and at which step, which may be later than the one asked for */
export async function takeSteps(
  deps: TakeStepsDeps,
  first: StepRef,
  signal: AbortSignal,
): Promise<ProposeOutcome> {
  const startedAt = performance.now();
  for (let ref = first; ; ref = { ...ref, step: ref.step + 1 }) {
    const outcome = await takeStep(deps, ref, signal);
    switch (outcome.kind) {
      case 'in':
        if (signal.aborted || performance.now() - startedAt > MAX_GOING_ON_MS)
          return { kind: 'again', step: ref.step };
        break;
      case 'waiting': // does not say at which step: the workflow shall ask for this one
        return ref.step === first.step ? outcome : { kind: 'again', step: ref.step - 1 };
      case 'ended':
        return { ...outcome, step: ref.step };
      default:
        return outcome;
    }
  }
}

/** One step; `in`: its batch went out from here and has come in. */
async function takeStep(
  deps: TakeStepsDeps,
  ref: StepRef,
  signal: AbortSignal,
): Promise<ProposeOutcome | { kind: 'in' }> {
  const place: { attended?: Attended | undefined } = {};
  const attend = (batchId: string): boolean => {
    place.attended = deps.attendance?.attend(batchId);
    return place.attended !== undefined;
  };
  try {
    const outcome = await proposeStep(deps, ref, signal, attend);
    if (place.attended === undefined || outcome.kind !== 'running') return outcome;
    if (await place.attended.heard(MAX_STAY_MS, signal)) {
      const batch = await findBatch(deps.db, outcome.batchId);
      if (batch?.pending === 0) return { kind: 'in' };
    }
    const isOut = await hangBatchBell(deps.db, outcome.batchId, taskWorkflowId(ref.taskId, ref.runNo));
    return isOut ? outcome : { kind: 'in' };
  } finally {
    place.attended?.end();
  }
}
