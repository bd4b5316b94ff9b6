import { activityInfo, cancellationSignal, heartbeat } from '@temporalio/activity';
import { CancelledFailure } from '@temporalio/common';
import type { TakeStepsDeps } from '../domain/tasks/take-steps.ts';
import { toApplicationFailure } from './failures.ts';

export type ActivityDeps = TakeStepsDeps;

/**
 * How often an activity says that it is alive, milliseconds; below the heartbeat timeout of every proxy. A worker that
 * dies in the middle of a call of the model is noticed by its silence, and a cancellation travels on the answers.
 */
const HEARTBEAT_INTERVAL_MS = 2_000;

/**
 * Run the body of an activity: hands on the signal of its cancellation and turns what it throws into what a
 * workflow understands. Surprises are logged here, because a history must not hold their text.
 */
export async function runActivity<T>(
  deps: Pick<ActivityDeps, 'log'>,
  body: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const pulse = setInterval(() => heartbeat(), HEARTBEAT_INTERVAL_MS);
  try {
    return await body(cancellationSignal());
  } catch (error) {
    if (error instanceof CancelledFailure) throw error;
    const { activityType, attempt, workflowExecution } = activityInfo();
    const failure = toApplicationFailure(error);
    deps.log.warn({
      event: 'activity_failed',
      activity: activityType,
      attempt,
      workflowId: workflowExecution?.workflowId,
      code: failure.type,
      isFinal: failure.nonRetryable === true,
      error,
    });
    throw failure;
  } finally {
    clearInterval(pulse);
  }
}
