/** Questions about a task: the agent is told of the task first where it does not know it. */
import type { TaskRow } from '../../db/tasks.ts';
import { taskAgentTokenName } from '../tasks/task-secrets.ts';
import { askUrlAgent, type UrlAnswer, type UrlQuestion } from './call.ts';
import type { UrlAgentDeps } from './deps.ts';

/** Telling an agent of a task may take this long, milliseconds. */
const INTRODUCTION_TIMEOUT_MS = 15_000;

/** What is left for the second question at least, milliseconds. */
const MIN_TIMEOUT_MS = 1_000;

type AskedTask = Pick<TaskRow, 'id' | 'publicId' | 'title' | 'goal' | 'priority' | 'sealedAgentToken'>;

/** @param path after the task's own path there, as `/step/propose` */
export async function askForTask(
  deps: UrlAgentDeps,
  agentId: string,
  task: AskedTask,
  path: string,
  question: Omit<UrlQuestion, 'path' | 'method' | 'token'> & {
    /** Both questions together may take no longer than one. */
    isOneDeadline?: boolean;
  },
): Promise<UrlAnswer> {
  const { sealedAgentToken: sealed } = task;
  const token = sealed === null ? undefined : deps.secrets.open(taskAgentTokenName(task.id), sealed);
  const asked = {
    ...question,
    method: 'POST' as const,
    path: `/tasks/${encodeURIComponent(task.publicId)}${path}`,
    token,
  };
  const startedAt = performance.now();
  const first = await askUrlAgent(deps, agentId, asked);
  if (first.kind !== 'refused' || first.status !== 404) return first;
  const { publicId: id, title, goal: description, priority } = task;
  const introduced = await askUrlAgent(deps, agentId, {
    method: 'POST',
    path: '/tasks',
    body: { id, title, description, priority },
    timeoutMs: INTRODUCTION_TIMEOUT_MS,
    token,
    signal: question.signal,
  });
  if (introduced.kind !== 'answered') return first;
  const spentMs = question.isOneDeadline ? performance.now() - startedAt : 0;
  return askUrlAgent(deps, agentId, {
    ...asked,
    timeoutMs: Math.max(MIN_TIMEOUT_MS, Math.round(question.timeoutMs - spentMs)),
  });
}
