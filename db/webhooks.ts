/** Subscriptions to events. */
import { execute, type Queryable, query, queryOne } from './database.ts';
import { lockKeys } from './lock-keys.ts';

export type WebhookState = 'active' | 'paused' | 'disabled';

export interface WebhookRow {
  id: string;
  name: string;
  url: string;
  eventTypes: string[];
  sealedSecret: string;
  sealedPreviousSecret: string | null;
  previousUntil: Date | null;
  sealedBearerToken: string | null;
  state: WebhookState;
  stateReason: string | null;
  failingSince: Date | null;
  creatorKind: string;
  creatorId: string;
  creatorName: string;
  createdAt: Date;
  updatedAt: Date;
}

const columnOf = {
  id: 'id',
  name: 'name',
  url: 'url',
  eventTypes: 'event_types',
  sealedSecret: 'sealed_secret',
  sealedPreviousSecret: 'sealed_previous_secret',
  previousUntil: 'previous_until',
  sealedBearerToken: 'sealed_bearer_token',
  state: 'state',
  stateReason: 'state_reason',
  failingSince: 'failing_since',
  creatorKind: 'creator_kind',
  creatorId: 'creator_id',
  creatorName: 'creator_name',
  createdAt: 'created_at',
  updatedAt: 'updated_at',
} as const satisfies Record<keyof WebhookRow, string>;

const columns = Object.entries(columnOf)
  .map(([name, column]) => `w.${column} as "${name}"`)
  .join(', ');

export async function countWebhooks(db: Queryable): Promise<number> {
  await execute(db, 'select pg_advisory_xact_lock(:key)', { key: lockKeys.webhooks });
  return (await queryOne<{ count: number }>(db, 'select count(*) as count from webhooks'))?.count ?? 0;
}

export type NewWebhook = Pick<
  WebhookRow,
  | 'id'
  | 'name'
  | 'url'
  | 'eventTypes'
  | 'sealedSecret'
  | 'sealedBearerToken'
  | 'creatorKind'
  | 'creatorId'
  | 'creatorName'
>;

/** Active from now on: of what this transaction cannot see yet it will be told. */
export async function insertWebhook(db: Queryable, webhook: NewWebhook): Promise<void> {
  await execute(
    db,
    `insert into webhooks (id, name, url, event_types, sealed_secret, sealed_bearer_token, state, creator_kind,
                           creator_id, creator_name)
     values (:id, :name, :url, :eventTypes, :sealedSecret, :sealedBearerToken, 'active', :creatorKind, :creatorId,
             :creatorName)`,
    { ...webhook },
  );
}

export const findWebhook = (db: Queryable, id: string): Promise<WebhookRow | undefined> =>
  queryOne<WebhookRow>(db, `select ${columns} from webhooks w where w.id = :id`, { id });

/** Its row is locked until the end of the transaction. */
export const lockWebhook = (db: Queryable, id: string): Promise<WebhookRow | undefined> =>
  queryOne<WebhookRow>(db, `select ${columns} from webhooks w where w.id = :id for update`, { id });

/** Newest first, keyset by (created_at, id). */
export function listWebhooks(db: Queryable, page: WebhookPage): Promise<WebhookRow[]> {
  const { sql, bindings } = listWebhooksSql(page);
  return query<WebhookRow>(db, sql, bindings);
}

export interface WebhookPage {
  before: { at: Date; id: string } | undefined;
  limit: number;
}

export const listWebhooksSql = ({ before, limit }: WebhookPage) => ({
  sql: `select ${columns} from webhooks w
        ${before === undefined ? '' : 'where (w.created_at, w.id) < (:at, cast(:id as uuid))'}
        order by w.created_at desc, w.id desc limit :limit`,
  bindings: { limit, ...(before && { at: before.at, id: before.id }) },
});

export type WebhookChange = Partial<
  Pick<
    WebhookRow,
    | 'name'
    | 'url'
    | 'eventTypes'
    | 'sealedSecret'
    | 'sealedPreviousSecret'
    | 'previousUntil'
    | 'sealedBearerToken'
    | 'state'
    | 'stateReason'
    | 'failingSince'
  >
>;

/** Change what is given. Becoming active, it is told of what is committed from then on. */
export async function updateWebhook(db: Queryable, id: string, change: WebhookChange): Promise<void> {
  const names = Object.keys(change) as (keyof WebhookChange)[];
  const sets = names.map((name) => `${columnOf[name]} = :${name}`);
  if (change.state === 'active') sets.push('since = pg_current_snapshot()');
  await execute(db, `update webhooks set ${[...sets, 'updated_at = now()'].join(', ')} where id = :id`, {
    ...change,
    id,
  });
}

export async function deleteWebhook(db: Queryable, id: string): Promise<void> {
  await execute(db, 'delete from webhooks where id = :id', { id });
}

/** Since when nothing was taken; null: the last attempt was. */
export async function setFailing(db: Queryable, id: string, since: Date | null): Promise<void> {
  await execute(db, 'update webhooks set failing_since = :since where id = :id', { id, since });
}

/** Sealed texts of a webhook, for a change of keys. */
export const listSealedWebhooks = (
  db: Queryable,
): Promise<Pick<WebhookRow, 'id' | 'sealedSecret' | 'sealedPreviousSecret' | 'sealedBearerToken'>[]> =>
  query(
    db,
    `select id, sealed_secret as "sealedSecret", sealed_previous_secret as "sealedPreviousSecret",
            sealed_bearer_token as "sealedBearerToken" from webhooks order by id`,
  );

/** False when it changed meanwhile. */
export async function replaceSealedWebhook(
  db: Queryable,
  place: {
    id: string;
    column: 'sealedSecret' | 'sealedPreviousSecret' | 'sealedBearerToken';
    from: string;
    to: string;
  },
): Promise<boolean> {
  const column = columnOf[place.column];
  const row = await queryOne(
    db,
    `update webhooks set ${column} = :to where id = :id and ${column} = :from returning id`,
    { id: place.id, from: place.from, to: place.to },
  );
  return row !== undefined;
}
