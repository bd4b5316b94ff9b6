/** The autopilot: one row, and the tasks it has set going. */
import type { SecurityLevel } from '../contracts/teams.ts';
import { aliveFor } from './agents.ts';
import { type Queryable, query, queryOne } from './database.ts';

export interface AutopilotRow {
  running: boolean;
  /** Raised by every start; tasks carry the one that set them going. */
  session: number;
  intervalMs: number;
  maxConcurrency: number;
  goal: string;
  /** Null: whichever team is active. */
  teamId: string | null;
  budgetLabel: string;
  securityLevel: SecurityLevel;
  startedAt: Date | null;
  lastTickAt: Date | null;
  tickCount: number;
  dispatchedCount: number;
  lastReason: string | null;
  lastError: string | null;
}

const columnOf = {
  running: 'running',
  session: 'session',
  intervalMs: 'interval_ms',
  maxConcurrency: 'max_concurrency',
  goal: 'goal',
  teamId: 'team_id',
  budgetLabel: 'budget_label',
  securityLevel: 'security_level',
  startedAt: 'started_at',
  lastTickAt: 'last_tick_at',
  tickCount: 'tick_count',
  dispatchedCount: 'dispatched_count',
  lastReason: 'last_reason',
  lastError: 'last_error',
} as const satisfies Record<keyof AutopilotRow, string>;

const columns = Object.entries(columnOf)
  .map(([property, column]) => `a.${column} as "${property}"`)
  .join(', ');

export const findAutopilot = (db: Queryable): Promise<AutopilotRow | undefined> =>
  queryOne<AutopilotRow>(db, `select ${columns} from autopilot a`);

export const lockAutopilot = (db: Queryable): Promise<AutopilotRow | undefined> =>
  queryOne<AutopilotRow>(db, `select ${columns} from autopilot a for update`);

/** Undefined: somebody else holds it. */
export const tryLockAutopilot = (db: Queryable): Promise<AutopilotRow | undefined> =>
  queryOne<AutopilotRow>(db, `select ${columns} from autopilot a for update skip locked`);

/** Is a tick due, by the clock of the database? */
export async function isTickDue(db: Queryable): Promise<boolean> {
  const row = await queryOne(
    db,
    `select 1 as one from autopilot
     where running and coalesce(last_tick_at + make_interval(secs => interval_ms / 1000.0), now()) <= now()`,
  );
  return row !== undefined;
}

export type AutopilotPatch = Partial<Omit<AutopilotRow, 'lastTickAt' | 'startedAt'>> & {
  /** By the clock of the database. */
  isStarted?: true;
  isTicked?: true;
};

/** Change the locked row. */
export async function updateAutopilot(db: Queryable, patch: AutopilotPatch): Promise<AutopilotRow> {
  const { isStarted, isTicked, ...values } = patch;
  const bindings: Record<string, unknown> = {};
  const sets = Object.entries(values)
    .filter(([, value]) => value !== undefined)
    .map(([property, value]) => {
      const column = columnOf[property as keyof typeof values];
      bindings[column] = value;
      return `${column} = ${property === 'teamId' ? 'cast(:team_id as uuid)' : `:${column}`}`;
    });
  if (isStarted) sets.push('started_at = now()');
  if (isTicked) sets.push('last_tick_at = now()');
  const row = await queryOne<AutopilotRow>(
    db,
    `update autopilot as a set ${sets.join(', ')} returning ${columns}`,
    bindings,
  );
  if (row === undefined) throw new Error('the row of the autopilot is missing');
  return row;
}

export interface SessionCounts {
  completed: number;
  failed: number;
  open: number;
  /** US dollars that the model has cost for these tasks. */
  costUsd: number;
}

/** What became of the tasks that a session set going. */
export async function countSessionTasks(db: Queryable, session: number): Promise<SessionCounts> {
  const row = await queryOne<SessionCounts>(
    db,
    `select count(*) filter (where t.state = 'completed') as completed,
            count(*) filter (where t.ended_at is not null and t.state <> 'completed') as failed,
            count(*) filter (where t.ended_at is null) as open,
            coalesce(sum((select sum(c.cost_usd) from llm_calls c where c.task_id = t.id)), 0) as "costUsd"
     from tasks t where t.autopilot_session = :session`,
    { session },
  );
  return row ?? { completed: 0, failed: 0, open: 0, costUsd: 0 };
}

export interface CandidateRow {
  id: string;
  roleId: string | null;
}

/**
 * Tasks of the team that wait for somebody to ask for their first step, the most urgent first, locked. One that another
 * transaction holds is left to it.
 */
export const takeCandidates = (db: Queryable, teamId: string, limit: number): Promise<CandidateRow[]> =>
  query<CandidateRow>(
    db,
    `select t.id, t.role_id as "roleId" from tasks t
     where t.team_id = :team_id and t.deleted_at is null and t.archived_at is null and t.kind = 'task'
       and t.mode = 'manual' and t.state in ('created', 'assigned') and t.ended_at is null
       and t.cancel_requested_at is null and t.step_no = 0 and t.requested_step = 0 and t.deadline_at > now()
     order by case lower(t.priority) when 'critical' then 0 when 'urgent' then 0 when 'high' then 1 when 'low' then 3
                                     else 2 end, t.created_at, t.id
     limit :limit for update skip locked`,
    { team_id: teamId, limit },
  );

/** A locked task is set going: from now on it goes on by itself. */
export async function setTaskGoing(
  db: Queryable,
  id: string,
  going: { mode: 'supervised' | 'auto'; session: number },
): Promise<void> {
  await query(
    db,
    `update tasks set mode = :mode, autopilot_session = :session, rev = rev + 1, updated_at = now(), progress_at = now()
     where id = :id`,
    { id, mode: going.mode, session: going.session },
  );
}

/**
 * A connected agent with the fewest open tasks: one that `refs` name (by id, host name or address) where they are given,
 * with all `tags`. One that is asked at its address has to be named, and to have been heard of. Undefined: none can take
 * a task now.
 */
export async function pickConnectedAgent(
  db: Queryable,
  wish: { refs?: readonly string[]; tags?: readonly string[] },
): Promise<string | undefined> {
  const row = await queryOne<{ id: string }>(
    db,
    `select a.id from agents a
     left join agent_connections c on c.agent_id = a.id and c.bridge_id is not null
     left join url_agents u on u.agent_id = a.id and a.delivery = 'url'
     left join agent_presence p on p.agent_id = a.id
     where (cast(:any as boolean) or a.id = any(cast(:refs as text[])) or a.hostname = any(cast(:refs as text[]))
         or u.url = any(cast(:urls as text[])))
       and (c.agent_id is not null or (not cast(:any as boolean) and u.agent_id is not null
         and p.last_seen_at > now() - ${aliveFor}
         and coalesce(u.open_until <= now(), true)))
       and a.tags @> cast(:tags as text[])
       and a.revoked_at is null and a.drain_requested_at is null and p.draining is not true
     order by (select count(*) from tasks t where t.agent_id = a.id and t.ended_at is null)
                + coalesce(p.running_count, 0), a.id
     limit 1`,
    {
      any: wish.refs === undefined,
      refs: [...(wish.refs ?? [])],
      urls: (wish.refs ?? []).map((ref) => ref.replace(/\/+$/, '')),
      tags: [...(wish.tags ?? [])],
    },
  );
  return row?.id;
}
