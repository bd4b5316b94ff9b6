/** Why a task ended: a code for programs, a sentence for people. */
import type { TaskEnd, TaskResult } from '../../contracts/tasks.ts';

/** Sentences of the codes that the engine gives; a person's reason for a cancel is its own sentence. */
const sentences: Readonly<Record<string, string>> = {
  deadline: 'the deadline of the task has passed',
  approval_timeout: 'nobody decided the proposal in time',
  workflow_lost: 'the workflow of this task was closed from outside',
  agent_revoked: 'the agent of this task has been revoked',
  agent_not_found: 'the agent of this task no longer exists',
  validation_failed: 'the proposed command cannot be run as it stands',
};

/**
 * The result of a task that was stopped. `why` is a code, or for a cancel what the person wrote; its code is then the
 * end itself.
 */
export function explainEnd(end: TaskEnd, why: string): TaskResult {
  if (end === 'canceled') return { success: false, summary: why, reason: end };
  return { success: false, summary: sentences[why] ?? `the task could not go on: ${why}`, reason: why };
}
