/** Tasks that follow from another one: its parts, which wait for it, each once. */
import { problem } from '../../contracts/errors.ts';
import { createTaskBodySchema, MAX_DEADLINE_MS, type TaskView } from '../../contracts/tasks.ts';
import { listChildGoals } from '../../db/child-tasks.ts';
import { resolveAgentRef } from '../agents/resolve-ref.ts';
import type { Actor } from '../deps.ts';
import { isRepeatedRequest, type RequestKey } from '../idempotency.ts';
import { assertCan } from '../policy.ts';
import { transact } from '../transact.ts';
import { type CreateTaskDeps, createTaskIn } from './create.ts';
import { lockTaskRow } from './load.ts';
import { toTaskView } from './view.ts';

/** Most parts of one task, so that finding doubles among them stays cheap. */
export const MAX_CHILDREN = 1_000;

export interface Followup {
  /** What is to be done. Empty: nothing to make a task of. */
  goal: string;
  priority?: string | undefined;
  /** As `resolveAgentRef` takes it; needs the right to assign. */
  agentRef?: string | undefined;
  agentToken?: string | undefined;
}

export interface FollowupsMade {
  created: TaskView[];
  skipped: { goal: string; reason: 'duplicate' | 'empty_description' }[];
}

/**
 * What a child says already, whatever its case and blanks, is not made again: a repeat of the request skips everything.
 * @param label a family's word for a child that need not wait
 * @throws forbidden, task_not_found (the parent), agent_not_found, agent_revoked, conflict (too many), idempotency_conflict
 */
export async function createFollowups(
  deps: CreateTaskDeps,
  actor: Actor,
  parentId: string,
  followups: readonly Followup[],
  { requestKey, label }: { requestKey: RequestKey | null; label: string },
): Promise<FollowupsMade> {
  const { principal } = actor;
  assertCan(principal, 'create', 'task');
  if (followups.some(({ agentRef }) => agentRef !== undefined)) assertCan(principal, 'assign', 'task');
  return transact(deps, async (unit) => {
    const parent = await lockTaskRow(unit, actor, parentId, 'read');
    await isRepeatedRequest(unit.trx, principal, requestKey, 'task.followups', parent.id);
    const goals = await listChildGoals(unit.trx, parent.publicId, MAX_CHILDREN);
    const known = new Set(goals.map(wordsOf));
    const made: FollowupsMade = { created: [], skipped: [] };
    for (const { goal, priority, agentRef, agentToken } of followups) {
      const words = wordsOf(goal);
      if (words === '' || known.has(words)) {
        made.skipped.push({ goal, reason: words === '' ? 'empty_description' : 'duplicate' });
        continue;
      }
      if (known.size >= MAX_CHILDREN) {
        throw problem('conflict', { reason: `task ${parent.publicId} has ${MAX_CHILDREN} parts already` });
      }
      known.add(words);
      const target =
        agentRef === undefined ? undefined : { agentId: await resolveAgentRef(unit.trx, agentRef) };
      const body = createTaskBodySchema.parse({
        goal,
        mode: 'manual',
        parentTaskId: parent.publicId,
        dependsOn: parent.state === 'completed' ? [] : [parent.publicId],
        deadlineMs: MAX_DEADLINE_MS,
        ...(target !== undefined && { target }),
      });
      const details = {
        title: '',
        statusLabel: label,
        agentToken,
        ...(priority !== undefined && { priority }),
      };
      const { task } = await createTaskIn(unit, deps, actor, body, { idempotencyKey: null, details });
      made.created.push(toTaskView(task));
    }
    return made;
  });
}

/** Two that differ in blanks and case only say the same. */
const wordsOf = (goal: string): string => goal.trim().toLowerCase().replace(/\s+/g, ' ');
