import type { DelegationWorkflowInput } from '../contracts/workflow-io.ts';
import { delegations } from './proxies.ts';

/** Hand a task to another installation. How that ended is in its row; what comes of the task is reported by callbacks. */
export async function delegation(input: DelegationWorkflowInput): Promise<void> {
  await delegations.sendDelegation(input);
}
