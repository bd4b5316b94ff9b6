import { workflowInfo } from '@temporalio/workflow';
import type { DeliverWorkflowInput } from '../contracts/workflow-io.ts';
import { agent, DELIVERY_MARGIN_MS, urlAgent } from './proxies.ts';

/**
 * Temporal delivery of one command: ask the agent's activity worker to claim and run it, or our own to ask an agent at
 * its address.
 * Ends quietly whatever happens: the command's row decides what its outcome is, and a delivery that never got
 * through is ended there by expiry.
 * @returns `delivered`: the result is stored; `refused`: the claim was (the row had ended, for example); `undelivered`
 */
export async function deliver(
  input: DeliverWorkflowInput,
): Promise<{ outcome: 'delivered' | 'refused' | 'undelivered' }> {
  const startedAtMs = workflowInfo().startTime.getTime();
  const leftMs = input.expiresAtMs + input.timeoutMs + DELIVERY_MARGIN_MS - startedAtMs;
  if (leftMs <= 0) return { outcome: 'undelivered' };
  try {
    const { commandId, digest } = input;
    const { refused } = input.byUrl
      ? await urlAgent(input, leftMs).runOnUrlAgent({ commandId })
      : await agent(input, leftMs).runCommand({ commandId, digest });
    return { outcome: refused === null ? 'delivered' : 'refused' };
  } catch {
    return { outcome: 'undelivered' };
  }
}
