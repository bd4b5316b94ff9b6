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

/** Before the words of whoever reported that a task failed; the code of such an end. */
const REPORTED = 'reported';
const REPORTED_PREFIX = `${REPORTED}: `;

/** `why` of a failure that a person or program reported in words of their own. */
export const reportedFailure = (words: string): string => `${REPORTED_PREFIX}${words}`;

/**
 * The result of a task that was stopped. `why` is a code, or of `reportedFailure`, or what the person wrote who canceled
 * or completed it; the code of a cancel is then the end itself.
 */
export function explainEnd(end: TaskEnd, why: string): TaskResult {
  if (end === 'canceled') return { success: false, summary: why, reason: end };
  if (end === 'completed') return { success: true, summary: why, reason: null };
  if (why.startsWith(REPORTED_PREFIX)) {
    return { success: false, summary: why.slice(REPORTED_PREFIX.length), reason: REPORTED };
  }
  return { success: false, summary: sentences[why] ?? `the task could not go on: ${why}`, reason: why };
}
