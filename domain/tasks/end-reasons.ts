/** Why a task ended: a code for programs, a sentence for people. */
import type { TaskEnd, TaskResult } from '../../contracts/tasks.ts';

/** Sentences of the codes that the engine gives; what a person wrote is its own sentence. */
const sentences: Readonly<Record<string, string>> = {
  deadline: 'the deadline of the task has passed',
  approval_timeout: 'nobody decided the proposal in time',
  workflow_lost: 'the workflow of this task was closed from outside',
  agent_revoked: 'the agent of this task has been revoked',
  agent_not_found: 'the agent of this task no longer exists',
  validation_failed: 'the proposed command cannot be run as it stands',
};

/** Code of a failure that a person or program reported in words of their own. */
const REPORTED = 'reported';

/**
 * The result of a task that was stopped. `why` is a code, or what the person wrote who canceled, completed or failed it;
 * the code of a cancel is the end itself.
 */
export function explainEnd(end: TaskEnd, why: string): TaskResult {
  if (end === 'canceled') return { success: false, summary: why, reason: end };
  if (end === 'completed') return { success: true, summary: why, reason: null };
  if (!/^[a-z]+(_[a-z]+)*$/.test(why)) return { success: false, summary: why, reason: REPORTED };
  return { success: false, summary: sentences[why] ?? `the task could not go on: ${why}`, reason: why };
}
