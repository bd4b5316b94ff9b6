/** Start, signal and look at workflows: the only calls that the rest of the system makes to Temporal. */
import type { RolloutWorkflowInput } from '../contracts/rollout-workflow.ts';
import type { WebhookWorkflowInput } from '../contracts/webhook-workflow.ts';
import type {
  DelegationWorkflowInput,
  DeliverWorkflowInput,
  TaskWorkflowInput,
  WorkflowSignal,
} from '../contracts/workflow-io.ts';
import type { TemporalClient } from './connection.ts';
import { failureKind } from './failures.ts';

/** Longest summary of a workflow, bytes of UTF-8; the server takes 400. */
const MAX_SUMMARY_BYTES = 200;
/** Longest a look at a workflow may take, milliseconds. */
const DESCRIBE_DEADLINE_MS = 5_000;

export type StartPayload =
  | { type: 'task'; input: TaskWorkflowInput; title: string }
  | { type: 'rollout'; input: RolloutWorkflowInput; title: string }
  | { type: 'webhookDelivery'; input: WebhookWorkflowInput }
  | { type: 'delegation'; input: DelegationWorkflowInput }
  | { type: 'deliver'; input: DeliverWorkflowInput };

export type WorkflowPresence = 'running' | 'closed' | 'not_found';

/**
 * Start a workflow once: an id that was ever used is refused, which here counts as success.
 * @returns whether this call started it
 */
export async function startWorkflow(
  temporal: TemporalClient,
  options: { workflowId: string; taskQueue: string; start: StartPayload; deadlineMs: number },
): Promise<boolean> {
  const { workflowId, taskQueue, start, deadlineMs } = options;
  try {
    await temporal.call(deadlineMs, (client) =>
      client.workflow.start(start.type, {
        workflowId,
        taskQueue,
        args: [start.input],
        workflowIdReusePolicy: 'REJECT_DUPLICATE',
        workflowIdConflictPolicy: 'FAIL',
        staticSummary: summaryOf(start),
      }),
    );
    return true;
  } catch (error) {
    if (failureKind(error) === 'already_started') return false;
    throw error;
  }
}

/** @throws with `failureKind` `not_found` when no open workflow has the id */
export async function signalWorkflow(
  temporal: TemporalClient,
  options: { workflowId: string; signal: WorkflowSignal; deadlineMs: number },
): Promise<void> {
  const { workflowId, signal, deadlineMs } = options;
  await temporal.call(deadlineMs, (client) =>
    client.workflow.getHandle(workflowId).signal(signal.name, signal.arg),
  );
}

/** Is the newest run of this id open? A reset run has the same id, so it counts. */
export async function findWorkflow(temporal: TemporalClient, workflowId: string): Promise<WorkflowPresence> {
  try {
    const { status } = await temporal.call(DESCRIBE_DEADLINE_MS, (client) =>
      client.workflow.getHandle(workflowId).describe(),
    );
    const isOpen =
      status.name === 'RUNNING' || status.name === 'PAUSED' || status.name === 'CONTINUED_AS_NEW';
    return isOpen ? 'running' : 'closed';
  } catch (error) {
    if (failureKind(error) === 'not_found') return 'not_found';
    throw error;
  }
}

function summaryOf(start: StartPayload): string {
  if (start.type === 'deliver') return `command for ${start.input.agentId}`;
  if (start.type === 'delegation') return `hand task ${start.input.taskId} on`;
  if (start.type === 'webhookDelivery') return `webhook ${start.input.targetId}`;
  return cutToBytes(start.title, MAX_SUMMARY_BYTES);
}

/** Whole characters only. */
export function cutToBytes(text: string, maxBytes: number): string {
  const bytes = Buffer.from(text, 'utf8');
  if (bytes.length <= maxBytes) return text;
  const ellipsis = '…';
  let end = maxBytes - Buffer.byteLength(ellipsis);
  // A byte of the form 10xxxxxx continues a character: step back to where one begins.
  while (end > 0 && ((bytes[end] ?? 0) & 0xc0) === 0x80) end--;
  return bytes.toString('utf8', 0, end) + ellipsis;
}
