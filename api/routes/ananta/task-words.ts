/** What clients of ananta write about tasks, in the words of the house. */
import type { AnantaNewTask, AnantaTaskChange } from '../../../contracts/families/ananta/tasks.ts';
import {
  type AnantaStatus,
  parseAnantaStatus,
  statesOfStatus,
  type TaskState,
} from '../../../contracts/states.ts';
import { createTaskBodySchema, MAX_DEADLINE_MS } from '../../../contracts/tasks.ts';
import type { Actor, DomainDeps } from '../../../domain/deps.ts';
import { assertCan } from '../../../domain/policy.ts';
import type { TaskChange } from '../../../domain/tasks/edit.ts';
import type { NewTask } from '../../../domain/tasks/put.ts';
import type { ReportedStatus } from '../../../domain/tasks/report-status.ts';
import { renderTemplate } from '../../../domain/templates/render.ts';
import type { UrlAgentDeps } from '../../../domain/url-agents/deps.ts';
import type { Hub } from '../../events/hub.ts';

/** What ananta's task routes need. */
export type AnantaTaskDeps = UrlAgentDeps & { hub: Hub };

const reportOfStatus: Record<AnantaStatus, ReportedStatus> = {
  created: 'waiting',
  todo: 'waiting',
  assigned: 'waiting',
  proposing: 'running',
  in_progress: 'running',
  blocked: 'blocked',
  completed: 'completed',
  failed: 'failed',
  cancelled: 'canceled',
};

/** The two words of one state. */
const labelOf = (status: AnantaStatus): string | undefined =>
  status === 'todo' || status === 'created' ? status : undefined;

/** The states behind a status that a list is narrowed to; `created` and `todo` are one state by two names. */
export function statesWanted(text: string | undefined): {
  states?: TaskState[];
  label?: { is: string } | { not: string };
} {
  const status = text === undefined ? undefined : parseAnantaStatus(text);
  if (status === undefined) return {};
  const states = statesOfStatus('ananta', status);
  if (status === 'todo') return { states, label: { is: 'todo' } };
  return status === 'created' ? { states, label: { not: 'todo' } } : { states };
}

/** @throws forbidden (who may not assign says nothing of teams), template_not_found, validation_failed */
export async function newTaskOf(
  deps: DomainDeps,
  actor: Actor,
  words: Omit<Partial<AnantaNewTask>, 'id'> & { id?: string | null | undefined },
  given: { id?: string; idempotencyKey?: string | null },
): Promise<NewTask> {
  assertMayPlace(actor, words);
  const title = words.title ?? '';
  const description = words.description ?? '';
  const { team_id: teamId = null, assigned_role_id: roleId = null, template_id: templateId = null } = words;
  const goal =
    templateId === null
      ? description
      : await renderTemplate(deps.db, templateId, { title, description, teamId, roleId });
  const status = words.status == null ? undefined : parseAnantaStatus(words.status);
  const limits = createTaskBodySchema.omit({ goal: true, priority: true }).parse({
    mode: 'manual',
    // A backlog is long: nothing of it is to expire soon.
    deadlineMs: MAX_DEADLINE_MS,
    tags: words.tags ?? [],
    dependsOn: words.depends_on ?? [],
    parentTaskId: words.parent_task_id ?? undefined,
    callbackUrl: words.callback_url || undefined,
  });
  const publicId = given.id ?? words.id ?? undefined;
  return {
    body: { ...limits, goal, priority: 'medium' },
    options: {
      idempotencyKey: given.idempotencyKey ?? null,
      ...(publicId !== undefined && { publicId }),
      details: {
        title,
        ...(words.priority != null && { priority: words.priority }),
        statusLabel: (status && labelOf(status)) ?? null,
        teamId,
        roleId,
        templateId,
        callbackToken: words.callback_token || undefined,
      },
    },
    status: status && reportOfStatus[status],
  };
}

/** @throws forbidden */
export function changeOf(actor: Actor, words: AnantaTaskChange): TaskChange {
  assertMayPlace(actor, words);
  const status = words.status == null ? undefined : parseAnantaStatus(words.status);
  const label = status && labelOf(status);
  return {
    ...(words.title != null && { title: words.title }),
    ...(words.description != null && { goal: words.description }),
    ...(words.priority != null && { priority: words.priority }),
    ...(words.tags != null && { tags: words.tags }),
    ...(words.depends_on != null && { dependsOn: words.depends_on }),
    ...(words.team_id != null && { teamId: words.team_id }),
    ...(words.assigned_role_id != null && { roleId: words.assigned_role_id }),
    ...(status !== undefined && {
      report: {
        status: reportOfStatus[status],
        force: words.force ?? false,
        ...(label !== undefined && { label }),
      },
    }),
  };
}

/** A team's tasks may be run by its autopilot: to say whose a task is, is to assign it. */
function assertMayPlace(
  actor: Actor,
  words: { team_id?: string | null | undefined; assigned_role_id?: string | null | undefined },
): void {
  if (words.team_id != null || words.assigned_role_id != null) assertCan(actor.principal, 'assign', 'task');
}
