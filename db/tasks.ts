/** Tasks: one row each, the truth about where it stands. */
import type { TaskEnd, TaskKind, TaskMode, TaskResult, TaskState, TaskTarget } from '../contracts/tasks.ts';
import type { CommandTargetRow } from './agents.ts';
import { execute, type Queryable, query, queryOne } from './database.ts';

export interface TaskRow {
  id: string;
  publicId: string;
  kind: TaskKind;
  title: string;
  goal: string;
  mode: TaskMode;
  state: TaskState;
  runNo: number;
  rev: number;
  creatorKind: string;
  creatorId: string;
  creatorName: string;
  target: TaskTarget;
  agentId: string | null;
  /** Newest step of this run, 0 before the first. */
  stepNo: number;
  /** Manual mode: the newest step somebody asked a proposal for. */
  requestedStep: number;
  waitingReason: string | null;
  preApproved: string[];
  maxSteps: number;
  deadlineAt: Date;
  approvalTimeoutMs: number;
  commandTimeoutMs: number;
  expiryMs: number;
  cancelRequestedAt: Date | null;
  cancelReason: string | null;
  /** The end that waits for the batch that is out. */
  endAs: TaskEnd | null;
  endedAt: Date | null;
  result: TaskResult | null;
  seal: string | null;
  namespaceId: string | null;
  archivedAt: Date | null;
  createdAt: Date;
  updatedAt: Date;
  /** A family's word for a state that has two (ananta: `todo` for created). */
  statusLabel: string | null;
  /** In the words of whoever created it. */
  priority: string;
  tags: string[];
  /** Public id of the task it is part of, which may be another installation's. */
  parentTaskId: string | null;
  /** Public ids of what it waits for. */
  dependsOn: string[];
  /** Some task waits, or has waited, for this one. */
  isNeeded: boolean;
  /** Since when it is blocked, null when it is not. */
  blockedAt: Date | null;
  teamId: string | null;
  roleId: string | null;
  templateId: string | null;
  /** Where every change of its status is posted to. */
  callbackUrl: string | null;
  sealedCallbackToken: string | null;
  /** Token for its agent, where whoever assigned it gave one. */
  sealedAgentToken: string | null;
  /** Of the request that created it, where the client chose the id. */
  requestSha256: string | null;
}

/** TaskRow property → column, in one place; every statement below derives its names from it. */
const columnOf = {
  id: 'id',
  publicId: 'public_id',
  kind: 'kind',
  title: 'title',
  goal: 'goal',
  mode: 'mode',
  state: 'state',
  runNo: 'run_no',
  rev: 'rev',
  creatorKind: 'creator_kind',
  creatorId: 'creator_id',
  creatorName: 'creator_name',
  target: 'target',
  agentId: 'agent_id',
  stepNo: 'step_no',
  requestedStep: 'requested_step',
  waitingReason: 'waiting_reason',
  preApproved: 'pre_approved',
  maxSteps: 'max_steps',
  deadlineAt: 'deadline_at',
  approvalTimeoutMs: 'approval_timeout_ms',
  commandTimeoutMs: 'command_timeout_ms',
  expiryMs: 'expiry_ms',
  cancelRequestedAt: 'cancel_requested_at',
  cancelReason: 'cancel_reason',
  endAs: 'end_as',
  endedAt: 'ended_at',
  result: 'result',
  seal: 'seal_sha256',
  namespaceId: 'namespace_id',
  archivedAt: 'archived_at',
  createdAt: 'created_at',
  updatedAt: 'updated_at',
  statusLabel: 'status_label',
  priority: 'priority',
  tags: 'tags',
  parentTaskId: 'parent_task_id',
  dependsOn: 'depends_on',
  isNeeded: 'is_needed',
  blockedAt: 'blocked_at',
  teamId: 'team_id',
  roleId: 'role_id',
  templateId: 'template_id',
  callbackUrl: 'callback_url',
  sealedCallbackToken: 'sealed_callback_token',
  sealedAgentToken: 'sealed_agent_token',
  requestSha256: 'request_sha256',
} as const satisfies Record<keyof TaskRow, string>;

/** All that a `TaskRow` is made of, of a table with the alias `t`. */
export const taskColumns = columnsOf(() => true);
const columns = taskColumns;

/** What nobody outside is shown; lists do without. */
const hiddenInLists = [
  'requestedStep',
  'cancelReason',
  'endAs',
  'namespaceId',
  'isNeeded',
  'sealedAgentToken',
  'requestSha256',
] as const satisfies (keyof TaskRow)[];
export type ListedTaskRow = Omit<TaskRow, (typeof hiddenInLists)[number]>;
const listedColumns = columnsOf((property) => !(hiddenInLists as readonly string[]).includes(property));

function columnsOf(isWanted: (property: string) => boolean): string {
  return Object.entries(columnOf)
    .filter(([property]) => isWanted(property))
    .map(([property, column]) => `t.${column} as "${property}"`)
    .join(', ');
}

/** What every task is created with. */
const givenAtCreation = [
  'id',
  'publicId',
  'kind',
  'title',
  'goal',
  'mode',
  'creatorKind',
  'creatorId',
  'creatorName',
  'target',
  'agentId',
  'preApproved',
  'maxSteps',
  'deadlineAt',
  'approvalTimeoutMs',
  'commandTimeoutMs',
  'expiryMs',
] as const satisfies (keyof TaskRow)[];

/** What a task may be created with besides; a default where absent. */
const optionalAtCreation = [
  'state',
  'waitingReason',
  'blockedAt',
  'statusLabel',
  'priority',
  'tags',
  'parentTaskId',
  'dependsOn',
  'teamId',
  'roleId',
  'templateId',
  'callbackUrl',
  'sealedCallbackToken',
  'sealedAgentToken',
  'requestSha256',
] as const satisfies (keyof TaskRow)[];

export type NewTaskRow = Pick<TaskRow, (typeof givenAtCreation)[number]> &
  Partial<Pick<TaskRow, (typeof optionalAtCreation)[number]>>;

/** Insert a task, in state `created` unless it says otherwise. Returns undefined when the public id is taken. */
export async function insertTask(db: Queryable, task: NewTaskRow): Promise<TaskRow | undefined> {
  const given: NewTaskRow = { state: 'created', ...task };
  const properties = [...givenAtCreation, ...optionalAtCreation].filter((name) => given[name] !== undefined);
  const values = properties.map((name) =>
    name === 'target' ? 'cast(:v_target as jsonb)' : `:v_${columnOf[name]}`,
  );
  const bindings = properties.map((name) => {
    const value = name === 'target' ? JSON.stringify(given.target) : given[name];
    return [`v_${columnOf[name]}`, value] as const;
  });
  return queryOne<TaskRow>(
    db,
    `insert into tasks as t (${properties.map((name) => columnOf[name]).join(', ')})
     values (${values.join(', ')})
     on conflict (public_id) do nothing
     returning ${columns}`,
    Object.fromEntries(bindings),
  );
}

export async function findTask(db: Queryable, id: string): Promise<TaskRow | undefined> {
  return queryOne<TaskRow>(db, `select ${columns} from tasks t where t.id = :id`, { id });
}

export async function findTaskByPublicId(db: Queryable, publicId: string): Promise<TaskRow | undefined> {
  return queryOne<TaskRow>(
    db,
    `select ${columns} from tasks t where t.public_id = :public_id and t.deleted_at is null`,
    { public_id: publicId },
  );
}

/** Lock a task for a decision. */
export async function lockTask(db: Queryable, id: string): Promise<TaskRow | undefined> {
  return queryOne<TaskRow>(db, `select ${columns} from tasks t where t.id = :id for update`, { id });
}

export async function lockTaskByPublicId(db: Queryable, publicId: string): Promise<TaskRow | undefined> {
  return queryOne<TaskRow>(
    db,
    `select ${columns} from tasks t where t.public_id = :public_id and t.deleted_at is null for update`,
    { public_id: publicId },
  );
}

export type TaskPatch = Partial<
  Pick<
    TaskRow,
    | 'state'
    | 'target'
    | 'agentId'
    | 'stepNo'
    | 'requestedStep'
    | 'waitingReason'
    | 'cancelRequestedAt'
    | 'cancelReason'
    | 'endAs'
    | 'endedAt'
    | 'result'
    | 'seal'
    | 'archivedAt'
    | 'title'
    | 'goal'
    | 'deadlineAt'
    | 'statusLabel'
    | 'priority'
    | 'tags'
    | 'dependsOn'
    | 'blockedAt'
    | 'teamId'
    | 'roleId'
    | 'templateId'
    | 'sealedAgentToken'
  >
>;

/** Change a locked task; raises `rev` and touches its progress. Returns the row as it is now. */
export async function updateTask(db: Queryable, id: string, patch: TaskPatch): Promise<TaskRow> {
  const bindings: Record<string, unknown> = { id };
  const sets = Object.entries(patch).map(([property, value]) => {
    const column = columnOf[property as keyof TaskPatch];
    const isJson = property === 'target' || property === 'result';
    bindings[`set_${column}`] = isJson && value !== null ? JSON.stringify(value) : value;
    return `${column} = ${isJson ? `cast(:set_${column} as jsonb)` : `:set_${column}`}`;
  });
  const row = await queryOne<TaskRow>(
    db,
    `update tasks as t set ${[...sets, 'rev = rev + 1', 'updated_at = now()', 'progress_at = now()'].join(', ')}
     where t.id = :id returning ${columns}`,
    bindings,
  );
  if (row === undefined) throw new Error(`task ${id} vanished while it was locked`);
  return row;
}

/**
 * The usual claim in one statement: an open task on an agent that works, whose step is still to be proposed, goes to
 * `proposing`. Undefined where anything is unusual: then look at the row under its lock.
 */
export async function claimTaskForStep(
  db: Queryable,
  ref: { taskId: string; runNo: number; step: number },
): Promise<{ task: TaskRow; agent: CommandTargetRow } | undefined> {
  const row = await queryOne<TaskRow & AgentOfTask>(
    db,
    `update tasks t set state = 'proposing', waiting_reason = null, rev = t.rev + 1, updated_at = now(),
                        progress_at = now()
     from agents a
     where t.id = :id and t.run_no = :run_no and t.ended_at is null and t.cancel_requested_at is null
       and t.step_no < :step and t.max_steps >= :step and t.state <> 'blocked' and a.id = t.agent_id
       and a.revoked_at is null
     returning ${columns}, ${agentColumns}`,
    { id: ref.taskId, run_no: ref.runNo, step: ref.step },
  );
  if (row === undefined) return undefined;
  const { agent_hostname: hostname, agent_os: os, agent_delivery: delivery, ...rest } = row;
  const { agent_shells: shells, agent_shell: defaultShell, agent_of_task: id, ...task } = rest;
  return { task, agent: { id, hostname, os, delivery, shells, defaultShell, isRevoked: false } };
}

/** The agent of a task beside it, under names that are none of a task's properties. */
interface AgentOfTask {
  agent_of_task: CommandTargetRow['id'];
  agent_hostname: CommandTargetRow['hostname'];
  agent_os: CommandTargetRow['os'];
  agent_delivery: CommandTargetRow['delivery'];
  agent_shells: CommandTargetRow['shells'];
  agent_shell: CommandTargetRow['defaultShell'];
}

const agentColumns =
  'a.id as agent_of_task, a.hostname as agent_hostname, a.os as agent_os, a.delivery as agent_delivery, ' +
  'a.shells as agent_shells, a.default_shell as agent_shell';

export interface TaskFilter {
  state?: TaskState | undefined;
  mode?: TaskMode | undefined;
  kind?: TaskKind | undefined;
  agentId?: string | undefined;
  creatorId?: string | undefined;
  open?: boolean | undefined;
  archived: boolean;
  before?: { at: Date; id: string } | undefined;
  limit: number;
}

/** Newest first, keyset by (created_at, id). */
export async function listTasks(db: Queryable, filter: TaskFilter): Promise<ListedTaskRow[]> {
  const conditions = ['t.deleted_at is null', `t.archived_at is ${filter.archived ? 'not null' : 'null'}`];
  if (filter.state !== undefined) conditions.push('t.state = :state');
  if (filter.mode !== undefined) conditions.push('t.mode = :mode');
  if (filter.kind !== undefined) conditions.push('t.kind = :kind');
  if (filter.agentId !== undefined) conditions.push('t.agent_id = :agent_id');
  if (filter.creatorId !== undefined) conditions.push('t.creator_id = :creator_id');
  if (filter.open !== undefined) conditions.push(`t.ended_at is ${filter.open ? 'null' : 'not null'}`);
  if (filter.before !== undefined)
    conditions.push('(t.created_at, t.id) < (:before_at, cast(:before_id as uuid))');
  return query<ListedTaskRow>(
    db,
    `select ${listedColumns} from tasks t where ${conditions.join(' and ')}
     order by t.created_at desc, t.id desc limit :limit`,
    {
      state: filter.state ?? null,
      mode: filter.mode ?? null,
      kind: filter.kind ?? null,
      agent_id: filter.agentId ?? null,
      creator_id: filter.creatorId ?? null,
      before_at: filter.before?.at ?? null,
      before_id: filter.before?.id ?? null,
      limit: filter.limit,
    },
  );
}

/**
 * The agent a target means now: the named one, or among those with all tags (or all agents) a connected one with
 * the fewest open tasks and running commands. Undefined when none fits.
 */
export async function pickAgent(db: Queryable, target: TaskTarget): Promise<string | undefined> {
  if ('agentId' in target) {
    const row = await queryOne<{ id: string }>(
      db,
      'select id from agents where id = :id and revoked_at is null',
      {
        id: target.agentId,
      },
    );
    return row?.id;
  }
  const row = await queryOne<{ id: string }>(
    db,
    `select a.id from agents a
     left join agent_connections c on c.agent_id = a.id
     left join agent_presence p on p.agent_id = a.id
     where a.revoked_at is null and a.drain_requested_at is null and p.draining is not true
       -- One that is asked at its address does what it is given by name.
       and a.delivery <> 'url'
       and a.tags @> cast(:tags as text[])
     order by (c.bridge_id is not null) desc,
              (select count(*) from tasks t where t.agent_id = a.id and t.ended_at is null)
                + coalesce(p.running_count, 0),
              p.last_seen_at desc nulls last, a.id
     limit 1`,
    { tags: 'tags' in target ? target.tags : [] },
  );
  return row?.id;
}

/** Open tasks with a workflow, without progress for `idleMs`, oldest first; they move to the end of the line. */
export async function takeIdleTasks(db: Queryable, idleMs: number, limit: number): Promise<TaskRow[]> {
  return query<TaskRow>(
    db,
    `update tasks t set progress_at = now()
     where t.id in (
       select id from tasks where ended_at is null and kind <> 'collab' and state <> 'blocked'
         and progress_at < now() - make_interval(secs => :seconds)
       order by progress_at limit :limit for update skip locked)
     returning ${columns}`,
    { seconds: idleMs / 1000, limit },
  );
}

/** Begin the next run of a locked, ended task: nothing of the last one is left but its steps and commands. */
export async function startNextRun(
  db: Queryable,
  id: string,
  next: { state: TaskState; agentId: string | null; deadlineAt: Date; waitingReason: string | null },
): Promise<TaskRow> {
  const row = await queryOne<TaskRow>(
    db,
    `update tasks t set run_no = t.run_no + 1, state = :state, agent_id = :agent_id, deadline_at = :deadline_at,
                        step_no = 0, requested_step = 0, waiting_reason = :waiting_reason,
                        blocked_at = case when :state = 'blocked' then now() end, cancel_requested_at = null,
                        cancel_reason = null, end_as = null, ended_at = null, result = null, seal_sha256 = null,
                        namespace_id = null, archived_at = null, rev = t.rev + 1, updated_at = now(),
                        progress_at = now()
     where t.id = :id returning ${columns}`,
    {
      id,
      state: next.state,
      waiting_reason: next.waitingReason,
      agent_id: next.agentId,
      deadline_at: next.deadlineAt,
    },
  );
  if (row === undefined) throw new Error(`task ${id} vanished while it was locked`);
  return row;
}

export async function setNamespaceId(db: Queryable, id: string, namespaceId: string): Promise<void> {
  await execute(db, 'update tasks set namespace_id = :namespace_id where id = :id', {
    id,
    namespace_id: namespaceId,
  });
}

export async function markTaskDeleted(db: Queryable, id: string): Promise<void> {
  await execute(db, 'update tasks set deleted_at = now(), updated_at = now(), rev = rev + 1 where id = :id', {
    id,
  });
}

/** Archive tasks that ended before a time and were not touched (restored) since, oldest first. Returns them. */
export async function archiveTasksEndedBefore(
  db: Queryable,
  endedBefore: Date,
  limit: number,
): Promise<TaskRow[]> {
  return query<TaskRow>(
    db,
    `update tasks t set archived_at = now(), updated_at = now(), rev = rev + 1
     where t.id in (
       select id from tasks where ended_at < :ended_before and updated_at < :ended_before
         and archived_at is null and deleted_at is null
       order by ended_at limit :limit for update skip locked)
     returning ${columns}`,
    { ended_before: endedBefore, limit },
  );
}
