import { workflowInfo } from '@temporalio/workflow';
import type { DeliverWorkflowInput } from '../contracts/workflow-io.ts';
import { agent, DELIVERY_MARGIN_MS } from './proxies.ts';

/**
 * Temporal delivery of one command: ask the agent's activity worker to claim and run it.
 * Ends quietly whatever happens: the command's row decides what its outcome is, and a delivery that never got
 * through is ended there by expiry.
 * @returns what the agent said, or `undelivered`
 */
export async function deliver(input: DeliverWorkflowInput): Promise<{ refused: string | null }> {
  const startedAtMs = workflowInfo().startTime.getTime();
  const leftMs = input.expiresAtMs + input.timeoutMs + DELIVERY_MARGIN_MS - startedAtMs;
  if (leftMs <= 0) return { outcome: 'undelivered' };
  try {
    return await agent(input, leftMs).runCommand({ commandId: input.commandId, digest: input.digest });
  } catch {
    return { outcome: 'undelivered' };
  }
}
