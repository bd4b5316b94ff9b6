/** The knex instance and the conventions of every query in db/. */
import { createHash } from 'node:crypto';
import createKnex, { type Knex } from 'knex';
import pg from 'pg';

export type Db = Knex;
export type Trx = Knex.Transaction;
/** A query runs on the pool or inside a transaction. */
export type Queryable = Knex | Knex.Transaction;

/** bigint columns fit a JavaScript number here: offsets, epochs and ids stay far below 2^53. */
pg.types.setTypeParser(pg.types.builtins.INT8, Number);
pg.types.setTypeParser(pg.types.builtins.NUMERIC, Number);

/** Longest a statement may run, milliseconds: below every activity's startToClose, so a late attempt cannot outlive its successor. */
export const STATEMENT_TIMEOUT_MS = 15_000;
/** Longest wait for a free pooled connection, milliseconds. */
export const ACQUIRE_TIMEOUT_MS = 10_000;

export interface DatabaseOptions {
  url: string;
  /** Most connections of this process's pool. */
  poolMax: number;
  applicationName: string;
  statementTimeoutMs?: number;
}

export function createDatabase(options: DatabaseOptions): Db {
  return createKnex({
    client: 'pg',
    connection: {
      connectionString: options.url,
      application_name: options.applicationName,
      statement_timeout: options.statementTimeoutMs ?? STATEMENT_TIMEOUT_MS,
      keepAlive: true,
    } as Knex.PgConnectionConfig,
    pool: { min: 0, max: options.poolMax, idleTimeoutMillis: 30_000 },
    acquireConnectionTimeout: ACQUIRE_TIMEOUT_MS,
  });
}

/**
 * Names of the statements sent so far. A named statement is parsed and planned once per connection instead of at every
 * call (a third of the time of a small query). A proxy between us and Postgres must keep sessions: transaction
 * pooling does not.
 */
const statementNames = new Map<string, string>();

function statementName(sql: string): string {
  const known = statementNames.get(sql);
  if (known !== undefined) return known;
  const name = `st_${createHash('sha256').update(sql).digest('hex').slice(0, 24)}`;
  statementNames.set(sql, name);
  return name;
}

/** Run a statement for its effect. */
export async function execute(
  db: Queryable,
  sql: string,
  bindings: Record<string, unknown> = {},
): Promise<void> {
  await query(db, sql, bindings);
}

/** Rows of a raw query, typed by the caller who wrote the column list. */
export async function query<Row>(
  db: Queryable,
  sql: string,
  bindings: Record<string, unknown> = {},
): Promise<Row[]> {
  const statement = db.raw(sql, bindings as never).options({ name: statementName(sql) });
  const result = (await statement) as unknown as { rows: Row[] };
  return result.rows;
}

/** The first row of a raw query, or undefined. */
export async function queryOne<Row>(
  db: Queryable,
  sql: string,
  bindings: Record<string, unknown> = {},
): Promise<Row | undefined> {
  return (await query<Row>(db, sql, bindings))[0];
}

/** Is this a Postgres error with the given SQLSTATE? */
export function isSqlState(error: unknown, sqlState: string): boolean {
  return error instanceof Error && 'code' in error && error.code === sqlState;
}

export const sqlStates = {
  uniqueViolation: '23505',
  restrictViolation: '23001',
  foreignKeyViolation: '23503',
} as const;
