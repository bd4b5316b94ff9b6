/** What happened to all tasks, newest first, as far back as events are kept. */
import { actText } from '../../contracts/act.ts';
import type { EventType } from '../../contracts/events.ts';
import { listTaskEvents, type TaskEventRow } from '../../db/task-timeline.ts';
import type { Actor, DomainDeps } from '../deps.ts';
import { visibleOwner } from '../policy.ts';
import { listVisibleTasks, type OffsetQuery } from './list-by-offset.ts';

/** Tasks whose events are looked at, the newest, where not those of all are wanted. */
const MAX_TASKS = 1_000;

export interface TimelineQuery extends Pick<OffsetQuery, 'agentRef' | 'teamId' | 'states' | 'label'> {
  since?: Date | undefined;
  /** Only what went wrong. */
  errorOnly: boolean;
  limit: number;
}

export interface SharedTimelineItem {
  type: EventType;
  /** A tool that was asked for was stopped. */
  isStopped: boolean;
  taskId: string;
  teamId: string | null;
  state: TaskEventRow['state'];
  statusLabel: string | null;
  at: Date;
  /** Name of the person, model or agent; `system` where nobody in particular. */
  actor: string;
  details: Record<string, unknown>;
}

const shownTypes: readonly EventType[] = [
  'task.created',
  'task.handed_off',
  'task.assigned',
  'task.unassigned',
  'task.blocked',
  'task.unblocked',
  'task.updated',
  'task.restarted',
  'task.proposed',
  'task.decided',
  'task.step_started',
  'task.step_judged',
  'task.tools_run',
  'command.finished',
  'task.completed',
  'task.failed',
  'task.canceled',
  'task.expired',
  'task.archived',
  'task.restored',
];

const failureTypes: readonly EventType[] = [
  'command.finished',
  'task.step_judged',
  'task.tools_run',
  'task.failed',
  'task.expired',
];

/**
 * With a filter for tasks, or for whoever sees only their own: what happened to the newest of those tasks.
 * @throws forbidden
 */
export async function getSharedTimeline(
  deps: DomainDeps,
  actor: Actor,
  query: TimelineQuery,
): Promise<{ items: SharedTimelineItem[]; total: number }> {
  const { agentRef, teamId, states, label, since, errorOnly, limit } = query;
  const isNarrowed =
    visibleOwner(actor.principal, 'task') !== undefined ||
    [agentRef, teamId, states, label].some((wish) => wish !== undefined);
  const page = { archived: false, limit: MAX_TASKS, offset: 0 };
  const tasks = isNarrowed
    ? await listVisibleTasks(deps, actor, { agentRef, teamId, states, label, ...page })
    : undefined;
  const { rows, total } = await listTaskEvents(deps.db, {
    types: errorOnly ? failureTypes : shownTypes,
    taskIds: tasks?.map(({ id }) => id),
    since,
    failedOnly: errorOnly,
    limit,
  });
  return { items: rows.map(itemOf), total };
}

const itemOf = (row: TaskEventRow): SharedTimelineItem => ({
  type: row.type,
  isStopped: row.stoppedBy !== null,
  taskId: row.taskId,
  teamId: row.teamId,
  state: row.state,
  statusLabel: row.statusLabel,
  at: row.at,
  actor: actorOf(row),
  details: { ...row.data, ...factsOf(row) },
});

function actorOf(row: TaskEventRow): string {
  switch (row.type) {
    case 'task.created':
      return row.creatorName;
    case 'task.proposed':
      return row.authorName ?? 'system';
    case 'task.decided':
      return row.decidedName ?? 'system';
    case 'command.finished':
      return row.agentId ?? 'system';
    case 'task.tools_run':
      return row.toolsActorName ?? 'system';
    default:
      return 'system';
  }
}

/** What the event's own few words leave to the rows. */
function factsOf(row: TaskEventRow): Record<string, unknown> {
  const agent = row.agentId === null ? {} : { agent: row.agentId };
  if (row.type === 'task.proposed' || row.type === 'task.decided') {
    return {
      ...agent,
      command: row.stepAct === null ? null : actText(row.stepAct),
      reason: row.type === 'task.proposed' ? row.stepReason : row.decisionReason,
    };
  }
  if (row.type === 'task.tools_run') return row.stoppedBy ?? {};
  if (row.type !== 'command.finished') return agent;
  return {
    ...agent,
    command_id: row.commandId,
    command: row.commandAct === null ? null : actText(row.commandAct),
    exit_code: row.data.exitCode ?? null,
    duration_ms: row.durationMs,
  };
}
