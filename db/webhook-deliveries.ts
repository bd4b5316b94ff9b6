/** Deliveries and the log of their attempts. */
import type { DeliveryState } from '../contracts/webhooks.ts';
import { execute, type Queryable, query, queryOne } from './database.ts';
import type { TargetKind } from './webhook-targets.ts';

export interface DeliveryRow {
  id: string;
  targetId: string;
  /** Order in which they came to be. */
  seq: number;
  eventId: number | null;
  eventType: string;
  facts: Record<string, unknown> | null;
  body: string | null;
  state: DeliveryState;
  attempts: number;
  nextAttemptAt: Date;
  giveUpAt: Date;
  status: number | null;
  errorCode: string | null;
  replayOf: string | null;
  createdAt: Date;
  endedAt: Date | null;
}

export type ListedDeliveryRow = Omit<DeliveryRow, 'body' | 'facts'>;

const columnOf = {
  id: 'id',
  targetId: 'target_id',
  seq: 'seq',
  eventId: 'event_id',
  eventType: 'event_type',
  facts: 'facts',
  body: 'body',
  state: 'state',
  attempts: 'attempts',
  nextAttemptAt: 'next_attempt_at',
  giveUpAt: 'give_up_at',
  status: 'status',
  errorCode: 'error_code',
  replayOf: 'replay_of',
  createdAt: 'created_at',
  endedAt: 'ended_at',
} as const satisfies Record<keyof DeliveryRow, string>;

const columnsWithout = (left: readonly string[]): string =>
  Object.entries(columnOf)
    .filter(([name]) => !left.includes(name))
    .map(([name, column]) => `d.${column} as "${name}"`)
    .join(', ');

const columns = columnsWithout([]);
const listedColumns = columnsWithout(['body', 'facts']);

export interface NewDelivery {
  id: string;
  targetId: string;
  eventId: number | null;
  eventType: string;
  body: string;
  /** Of a replay: the delivery that came to be first. */
  replayOf: string | null;
}

/** To be made at once. What tells a target of an event it was told of already is left out. @returns how many are new */
export async function insertDeliveries(
  db: Queryable,
  deliveries: readonly NewDelivery[],
  retryMs: number,
): Promise<number> {
  const rows = await query(
    db,
    `insert into webhook_deliveries (id, target_id, event_id, event_type, body, replay_of, give_up_at)
     select r.id, r."targetId", r."eventId", r."eventType", r.body, r."replayOf",
            now() + make_interval(secs => :seconds)
     from jsonb_to_recordset(cast(:rows as jsonb)) as r(
       id uuid, "targetId" uuid, "eventId" bigint, "eventType" text, body text, "replayOf" uuid, position bigint)
     order by r.position
     on conflict (target_id, event_id) where event_id is not null and replay_of is null do nothing
     returning id`,
    {
      rows: JSON.stringify(deliveries.map((delivery, position) => ({ ...delivery, position }))),
      seconds: retryMs / 1000,
    },
  );
  return rows.length;
}

/**
 * Pending ones whose time has come. Of a callback only the oldest pending one, whether or not its time has come: what
 * happened later is told later.
 */
export function listDue(
  db: Queryable,
  targetId: string,
  kind: TargetKind,
  limit: number,
): Promise<DeliveryRow[]> {
  return kind === 'callback'
    ? query<DeliveryRow>(
        db,
        `select ${columns} from (
           select * from webhook_deliveries where target_id = :target_id and state = 'pending' order by seq limit 1) d
         where d.next_attempt_at <= now()`,
        { target_id: targetId },
      )
    : query<DeliveryRow>(
        db,
        `select ${columns} from webhook_deliveries d
         where d.target_id = :target_id and d.state = 'pending' and d.next_attempt_at <= now()
         order by d.next_attempt_at, d.seq limit :limit`,
        { target_id: targetId, limit },
      );
}

/** How long until the next is due, milliseconds (0: now), undefined when none is pending. By the database's clock. */
export async function readNextDue(
  db: Queryable,
  targetId: string,
  kind: TargetKind,
): Promise<number | undefined> {
  const order = kind === 'callback' ? 'seq' : 'next_attempt_at';
  const row = await queryOne<{ ms: number }>(
    db,
    `select cast(greatest(0, extract(epoch from next_attempt_at - clock_timestamp()) * 1000) as double precision) as ms
     from webhook_deliveries where target_id = :target_id and state = 'pending' order by ${order} limit 1`,
    { target_id: targetId },
  );
  return row === undefined ? undefined : Number(row.ms);
}

/** What a callback says, once and for all. @returns what it says: the first to say it wins */
export async function fixBody(db: Queryable, id: string, body: string): Promise<string> {
  const row = await queryOne<{ body: string }>(
    db,
    'update webhook_deliveries set body = coalesce(body, :body) where id = :id returning body',
    { id, body },
  );
  return row?.body ?? body;
}

export interface AttemptRow {
  attempt: number;
  at: Date;
  durationMs: number;
  status: number | null;
  errorCode: string | null;
  error: string | null;
  response: string | null;
}

export interface AttemptOutcome extends Omit<AttemptRow, 'attempt'> {
  state: 'delivered' | 'failed' | 'pending';
  /** Of a pending one. */
  retryAfterMs: number;
}

/**
 * Record an attempt. One that was made when the time was over, by the clock of the database, was the last: by another
 * clock it might not be, and would be made again at once, over and over.
 * @returns false when the delivery is no longer pending, or another attempt was recorded since it was read: that one
 *   counts
 */
export async function recordAttempt(
  db: Queryable,
  delivery: Pick<DeliveryRow, 'id' | 'attempts'>,
  outcome: AttemptOutcome,
): Promise<boolean> {
  const row = await queryOne(
    db,
    `with outcome as (
       select id, case when cast(:state as text) = 'pending' and give_up_at <= now() then 'failed'
                  else :state end as state
       from webhook_deliveries where id = :id),
     done as (
       update webhook_deliveries d set attempts = d.attempts + 1, state = o.state, status = :status,
              error_code = :errorCode, ended_at = case when o.state <> 'pending' then now() end,
              next_attempt_at = case when o.state = 'pending'
                then least(d.give_up_at, now() + make_interval(secs => :seconds)) else d.next_attempt_at end
       from outcome o
       where d.id = o.id and d.state = 'pending' and d.attempts = :attempts
       returning d.id, d.attempts)
     insert into webhook_attempts (delivery_id, attempt, at, duration_ms, status, error_code, error, response)
     select done.id, done.attempts, :at, :durationMs, :status, :errorCode, :error, :response from done
     returning delivery_id`,
    {
      ...outcome,
      id: delivery.id,
      attempts: delivery.attempts,
      seconds: outcome.retryAfterMs / 1000,
    },
  );
  return row !== undefined;
}

/** Newest first, keyset by (created_at, id). */
export function listDeliveries(db: Queryable, filter: DeliveryFilter): Promise<ListedDeliveryRow[]> {
  const { sql, bindings } = listDeliveriesSql(filter);
  return query<ListedDeliveryRow>(db, sql, bindings);
}

export interface DeliveryFilter {
  targetId: string;
  state: DeliveryState | undefined;
  before: { at: Date; id: string } | undefined;
  limit: number;
}

export function listDeliveriesSql({ targetId, state, before, limit }: DeliveryFilter) {
  const conditions = [
    'd.target_id = :target_id',
    ...(state === undefined ? [] : ['d.state = :state']),
    ...(before === undefined ? [] : ['(d.created_at, d.id) < (:at, cast(:id as uuid))']),
  ];
  return {
    sql: `select ${listedColumns} from webhook_deliveries d where ${conditions.join(' and ')}
          order by d.created_at desc, d.id desc limit :limit`,
    bindings: {
      target_id: targetId,
      limit,
      ...(state !== undefined && { state }),
      ...(before && { at: before.at, id: before.id }),
    },
  };
}

export const findDelivery = (db: Queryable, targetId: string, id: string): Promise<DeliveryRow | undefined> =>
  queryOne<DeliveryRow>(
    db,
    `select ${columns} from webhook_deliveries d where d.id = :id and d.target_id = :target_id`,
    { id, target_id: targetId },
  );

export const listAttempts = (db: Queryable, deliveryId: string): Promise<AttemptRow[]> =>
  query<AttemptRow>(
    db,
    `select attempt, at, duration_ms as "durationMs", status, error_code as "errorCode", error, response
     from webhook_attempts where delivery_id = :id order by attempt`,
    { id: deliveryId },
  );

/** Ended ones of a time, oldest first, without replays. */
export const listForReplay = (
  db: Queryable,
  range: { targetId: string; state: DeliveryState; since: Date; until: Date; limit: number },
): Promise<DeliveryRow[]> =>
  query<DeliveryRow>(
    db,
    `select ${columns} from webhook_deliveries d
     where d.target_id = :targetId and d.state = :state and d.replay_of is null and d.body is not null
       and d.created_at >= :since and d.created_at < :until
     order by d.created_at, d.id limit :limit`,
    { ...range },
  );

/** How many are pending, of each of these. */
export async function countPending(
  db: Queryable,
  targetIds: readonly string[],
): Promise<Map<string, number>> {
  const rows = await query<{ id: string; count: number }>(
    db,
    `select target_id as id, count(*) as count from webhook_deliveries
     where target_id = any(cast(:ids as uuid[])) and state = 'pending' group by target_id`,
    { ids: [...targetIds] },
  );
  return new Map(rows.map(({ id, count }) => [id, Number(count)]));
}

/** Nothing more is sent: what was pending is canceled. */
export async function cancelPending(db: Queryable, targetId: string): Promise<void> {
  await execute(
    db,
    `update webhook_deliveries set state = 'canceled', ended_at = now() where target_id = :id and state = 'pending'`,
    { id: targetId },
  );
}

/** Delete ended ones older than the retention; returns how many. */
export async function deleteOldDeliveries(db: Queryable, olderThan: Date, limit: number): Promise<number> {
  const rows = await query(
    db,
    `delete from webhook_deliveries where id in (
       select id from webhook_deliveries where ended_at < :older_than order by ended_at limit :limit)
     returning id`,
    { older_than: olderThan, limit },
  );
  return rows.length;
}
