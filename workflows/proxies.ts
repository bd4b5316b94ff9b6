/**
 * Activity proxies by timeout class. Whether an error is worth a retry is said by the error itself (the activities
 * mark it from the one error table), so no list of error types is kept here.
 */
import { ActivityCancellationType, proxyActivities } from '@temporalio/workflow';
import type { RolloutActivities } from '../contracts/rollout-workflow.ts';
import {
  type AgentActivities,
  agentTaskQueue,
  type DeliverWorkflowInput,
  type TaskActivities,
  type UrlAgentActivities,
} from '../contracts/workflow-io.ts';

/** Some seconds of quick steps and one more call of the model; a call that takes longer is lost and asked again. */
const PROPOSE_TIMEOUT_MS = 120_000;
/** A worker that is silent for this long in the middle of the call has died: another one asks again. */
const PROPOSE_HEARTBEAT_TIMEOUT_MS = 10_000;
/** As above, of an activity that asks another installation. */
const HEARTBEAT_TIMEOUT_MS = 10_000;
/** Far above the timeout of the request that is made in it. */
const DELEGATION_TIMEOUT_MS = 60_000;
/** Activities that only read or write rows; far above the database's statement timeout. */
const ROWS_TIMEOUT_MS = 30_000;
/** A batch of ten thousand commands is a few statements of seconds each. */
const ROLLOUT_TIMEOUT_MS = 120_000;
/** Longest pause between attempts while a dependency (model, database) is away. */
const MAX_RETRY_INTERVAL_MS = 60_000;
/** A delivery may outlive the command's own limits by this much: the claim, the report and its acknowledgement. */
export const DELIVERY_MARGIN_MS = 60_000;

const retry = {
  initialInterval: '1s',
  backoffCoefficient: 2,
  maximumInterval: MAX_RETRY_INTERVAL_MS,
} as const;

/** Activities that only touch rows; retried until they succeed. */
export const rows: Omit<TaskActivities, 'propose'> = proxyActivities<TaskActivities>({
  startToCloseTimeout: ROWS_TIMEOUT_MS,
  cancellationType: ActivityCancellationType.TRY_CANCEL,
  retry,
});

/** As `rows`, of rollouts. */
export const rolloutRows: RolloutActivities = proxyActivities<RolloutActivities>({
  startToCloseTimeout: ROLLOUT_TIMEOUT_MS,
  cancellationType: ActivityCancellationType.TRY_CANCEL,
  retry,
});

/** `propose`, retried until `leftMs` milliseconds are over. */
export function model(leftMs: number): Pick<TaskActivities, 'propose'> {
  return proxyActivities<TaskActivities>({
    startToCloseTimeout: PROPOSE_TIMEOUT_MS,
    heartbeatTimeout: PROPOSE_HEARTBEAT_TIMEOUT_MS,
    scheduleToCloseTimeout: leftMs,
    cancellationType: ActivityCancellationType.TRY_CANCEL,
    retry,
  });
}

/** `runCommand` on the agent's own queue, given up after `leftMs` milliseconds. */
export function agent(input: DeliverWorkflowInput, leftMs: number): AgentActivities {
  return proxyActivities<AgentActivities>({
    taskQueue: agentTaskQueue(input.agentId),
    startToCloseTimeout: Math.min(input.timeoutMs + DELIVERY_MARGIN_MS, leftMs),
    scheduleToCloseTimeout: leftMs,
    cancellationType: ActivityCancellationType.TRY_CANCEL,
    retry: { ...retry, maximumInterval: '10s' },
  });
}

/** `runOnUrlAgent` on our own queue; a worker that dies in the middle is noticed by its silence. */
export function urlAgent(
  input: DeliverWorkflowInput,
  leftMs: number,
): Pick<UrlAgentActivities, 'runOnUrlAgent'> {
  return proxyActivities<UrlAgentActivities>({
    startToCloseTimeout: Math.min(input.timeoutMs + DELIVERY_MARGIN_MS, leftMs),
    scheduleToCloseTimeout: leftMs,
    heartbeatTimeout: HEARTBEAT_TIMEOUT_MS,
    cancellationType: ActivityCancellationType.TRY_CANCEL,
    retry,
  });
}

/** Handing a task on: one exchange, and the row that says how it ended. */
export const delegations: Pick<UrlAgentActivities, 'sendDelegation'> = proxyActivities<UrlAgentActivities>({
  startToCloseTimeout: DELEGATION_TIMEOUT_MS,
  heartbeatTimeout: HEARTBEAT_TIMEOUT_MS,
  retry,
});
