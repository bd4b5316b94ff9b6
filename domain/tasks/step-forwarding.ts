/** Steps of tasks whose agent has an address of its own: they are the agent's to propose and to execute. */
import type { Actor } from '../deps.ts';

/**
 * The port by which the step routes hand a task's step on. Absent: no agent is reached by an address.
 *
 * `undefined` means that the task's agent is one of ours, and the step is taken here. What comes back is the agent's
 * answer without its envelope, as the family's reply has it.
 */
export interface StepForwarder<Propose, Execute> {
  /** @throws task_not_found, forwarding_failed */
  propose(actor: Actor, publicId: string, body: unknown, signal: AbortSignal): Promise<Propose | undefined>;
  /** @throws task_not_found, forwarding_failed */
  execute(actor: Actor, publicId: string, body: unknown, signal: AbortSignal): Promise<Execute | undefined>;
}
