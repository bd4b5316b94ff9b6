/**
 * What crosses the border between the rollout workflow and the rest. Ids and counts only. Types alone: the names of
 * signals are in `workflow-io.ts`.
 */
import type { RolloutEnd } from './rollouts.ts';

export interface RolloutWorkflowInput {
  rolloutId: string;
}

export interface RolloutWorkflowResult {
  end: RolloutEnd;
  /** Batches that have begun. */
  batches: number;
}

/** Somebody paused, resumed, approved or canceled. */
export interface RolloutChangedSignal {
  /** The row's `rev` after it. */
  rev: number;
}

interface Progress {
  /** The row's `rev` as it was read: what people did later has a higher one. */
  rev: number;
  batchNo: number;
  batchCount: number;
}

/** What the workflow waits for next. */
export type RolloutOutcome =
  | { kind: 'ended'; end: RolloutEnd; batchNo: number }
  /** These batches of the ledger are out. */
  | ({ kind: 'running'; batchIds: string[] } & Progress)
  /** The pause before the next batch, or its approval, for at most `waitMs`. */
  | ({ kind: 'waiting'; for: 'pause' | 'approval'; waitMs: number } & Progress)
  /** Held by a person. */
  | ({ kind: 'paused' } & Progress)
  /** There is more to do at once. */
  | ({ kind: 'again' } & Progress);

export interface RolloutActivities {
  /**
   * Take note of what has come in, and begin the next batch where nothing stands before it. The rows say all: it may be
   * called again at any time, by anybody.
   */
  advanceRollout(input: RolloutWorkflowInput): Promise<RolloutOutcome>;
  /** Cancel from Temporal's side. */
  cancelRollout(input: RolloutWorkflowInput & { reason: string }): Promise<void>;
}
