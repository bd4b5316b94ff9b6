/** Where deliveries go to, and whether a workflow is at it. The row lock decides between new deliveries and the end. */
import { execute, type Queryable, query, queryOne } from './database.ts';

export type TargetKind = 'subscription' | 'callback';
export type DrainState = 'idle' | 'active' | 'sleeping';

export interface TargetRow {
  id: string;
  kind: TargetKind;
  drain: DrainState;
  runNo: number;
}

const columns = 'id, kind, drain, run_no as "runNo"';

export async function insertTarget(db: Queryable, target: Pick<TargetRow, 'id' | 'kind'>): Promise<void> {
  await execute(
    db,
    'insert into webhook_targets (id, kind) values (:id, :kind) on conflict (id) do nothing',
    {
      ...target,
    },
  );
}

/** With its deliveries. */
export async function deleteTarget(db: Queryable, id: string): Promise<void> {
  await execute(db, 'delete from webhook_targets where id = :id', { id });
}

/** Deliveries were added in this transaction. */
export async function markNews(db: Queryable, ids: readonly string[]): Promise<void> {
  await execute(db, 'update webhook_targets set has_news = true where id = any(cast(:ids as uuid[]))', {
    ids: [...ids],
  });
}

/**
 * Take note of what is new: each target is busy from now on.
 * @returns each with the state it was in: an idle one needs a workflow (of the new run), a sleeping one is to be woken
 */
export const takeNews = (db: Queryable, limit: number): Promise<TargetRow[]> =>
  query<TargetRow>(
    db,
    `with news as (
       select id, drain from webhook_targets where has_news order by id limit :limit for update skip locked)
     update webhook_targets t set has_news = false, drain = 'active', active_at = now(),
            run_no = t.run_no + case when news.drain = 'idle' then 1 else 0 end
     from news where t.id = news.id
     returning t.id, t.kind, news.drain, t.run_no as "runNo"`,
    { limit },
  );

/** A round of its workflow begins. @returns undefined when it is not this run's any more */
export const beginRound = (
  db: Queryable,
  target: Pick<TargetRow, 'id' | 'runNo'>,
): Promise<TargetRow | undefined> =>
  queryOne<TargetRow>(
    db,
    `update webhook_targets set drain = 'active', active_at = now() where id = :id and run_no = :run_no
     returning ${columns}`,
    { id: target.id, run_no: target.runNo },
  );

/** Its row is locked until the end of the transaction. @returns undefined when it is not this run's any more */
export const lockTarget = (
  db: Queryable,
  target: Pick<TargetRow, 'id' | 'runNo'>,
): Promise<TargetRow | undefined> =>
  queryOne<TargetRow>(
    db,
    `select ${columns} from webhook_targets where id = :id and run_no = :run_no for update`,
    { id: target.id, run_no: target.runNo },
  );

export async function setDrain(db: Queryable, id: string, drain: DrainState): Promise<void> {
  await execute(db, 'update webhook_targets set drain = :drain where id = :id', { id, drain });
}

/**
 * Targets that are said to be busy, with deliveries overdue by so much: their workflow is gone or stuck. They become
 * idle with news, so that the next one starts with a new number, which ends the old one if it ever comes back.
 */
export async function freeStuckTargets(db: Queryable, overdueMs: number, limit: number): Promise<string[]> {
  const rows = await query<{ id: string }>(
    db,
    `with stuck as (
       select t.id from webhook_targets t
       where t.drain <> 'idle' and t.active_at < now() - make_interval(secs => :seconds)
         and exists (select from webhook_deliveries d where d.target_id = t.id and d.state = 'pending'
                     and d.next_attempt_at < now() - make_interval(secs => :seconds)
                     -- Of a callback the later ones wait for the oldest, which may sleep for long.
                     and (t.kind <> 'callback' or d.seq = (
                       select min(f.seq) from webhook_deliveries f where f.target_id = t.id and f.state = 'pending')))
       order by t.active_at limit :limit for update of t skip locked)
     update webhook_targets t set drain = 'idle', has_news = true from stuck where t.id = stuck.id
     returning t.id`,
    { seconds: overdueMs / 1000, limit },
  );
  return rows.map(({ id }) => id);
}

/** Of tasks whose deliveries have all been forgotten. */
export async function deleteEmptyCallbacks(db: Queryable, limit: number): Promise<number> {
  const rows = await query<{ id: string }>(
    db,
    `delete from webhook_targets where id in (
       select t.id from webhook_targets t
       where t.kind = 'callback' and t.drain = 'idle' and not t.has_news
         and not exists (select from webhook_deliveries d where d.target_id = t.id)
       order by t.id limit :limit for update skip locked)
     returning id`,
    { limit },
  );
  return rows.length;
}
