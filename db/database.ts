/** The knex instance and the conventions of every query in db/. */
import { createHash } from 'node:crypto';
import createKnex, { type Knex } from 'knex';
import pg from 'pg';
import { parseTime } from './parse-time.ts';

export type Db = Knex;

/** A transaction under way, on a connection of knex's pool. */
export interface Trx {
  readonly driver: pg.ClientBase;
  /** Set by `queryAndCommit`: the commit is on its way, nothing more can be said in this transaction. */
  committing?: Promise<void>;
}

/** A query runs on the pool or inside a transaction (ours, or knex's own in migrations). */
export type Queryable = Knex | Knex.Transaction | Trx;

/** bigint columns fit a JavaScript number here: offsets, epochs and ids stay far below 2^53. */
pg.types.setTypeParser(pg.types.builtins.INT8, Number);
pg.types.setTypeParser(pg.types.builtins.NUMERIC, Number);
pg.types.setTypeParser(pg.types.builtins.TIMESTAMPTZ, parseTime);

/** Longest a statement may run, milliseconds: below every activity's startToClose, so a late attempt cannot outlive its successor. */
export const STATEMENT_TIMEOUT_MS = 15_000;
/** Longest wait for a free pooled connection, milliseconds. */
export const ACQUIRE_TIMEOUT_MS = 10_000;
/** A new connection that is not let in by then is closed, milliseconds. Whoever asked for it has given up before. */
const CONNECT_TIMEOUT_MS = 20_000;
/**
 * A statement that has not been answered this long after the server should have ended it never will be: the server is
 * gone without a word. Its connection is dropped. Milliseconds.
 */
const ANSWER_MARGIN_MS = 15_000;

export interface DatabaseOptions {
  url: string;
  /** Most connections of this process's pool. */
  poolMax: number;
  applicationName: string;
  statementTimeoutMs?: number;
}

export function createDatabase(options: DatabaseOptions): Db {
  const statementTimeoutMs = options.statementTimeoutMs ?? STATEMENT_TIMEOUT_MS;
  return createKnex({
    client: 'pg',
    connection: {
      connectionString: options.url,
      application_name: options.applicationName,
      statement_timeout: statementTimeoutMs,
      ...(statementTimeoutMs > 0 && { query_timeout: statementTimeoutMs + ANSWER_MARGIN_MS }),
      connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
      keepAlive: true,
      // The driver sends a statement without waiting for the answer to the one before: `begin` and the commit of a
      // unit then cost no round trip of their own. On a connection of the pool only transactions make use of it.
      pipeline: true,
    } as Knex.PgConnectionConfig,
    pool: { min: 0, max: options.poolMax, idleTimeoutMillis: 30_000 },
    acquireConnectionTimeout: ACQUIRE_TIMEOUT_MS,
    // What knex would write to the console it also throws; its lines would stand between those of the log.
    log: { debug: silent, warn: silent, error: silent, deprecate: silent },
  });
}

const silent = (): void => undefined;

/**
 * Run `work` in a transaction: committed when it resolves, rolled back when it rejects.
 *
 * The statements go straight to the driver. Knex gives the pool; its query objects cost more time than most of our
 * statements take (measured: a third of the CPU of a task).
 */
export async function inTransaction<T>(db: Db, work: (trx: Trx) => Promise<T>): Promise<T> {
  const connection: pg.ClientBase & { __knex__disposed?: unknown } = await acquire(db);
  try {
    // Not awaited: the driver sends what follows right behind it, and a failed `begin` fails that too.
    connection.query('begin').catch(() => undefined);
    const trx: Trx = { driver: connection };
    const value = await work(trx);
    await (trx.committing ?? commit(connection));
    return value;
  } catch (error) {
    await connection.query('rollback').catch((cause: unknown) => {
      // Whatever state it is in, nobody may get it again: knex drops connections with this mark.
      connection.__knex__disposed = cause;
    });
    throw error;
  } finally {
    db.client.releaseConnection(connection);
  }
}

/** Errors of a database that could not be had, before anything was done that might have stayed. */
const away = new WeakSet<Error>();

/** Was nothing done because the database could not be had? Then it may be asked for again. */
export const isDatabaseAway = (error: unknown): boolean => error instanceof Error && away.has(error);

/** Did two transactions wait for each other, and this one was rolled back so that the other could go on? */
export const isDeadlockVictim = (error: unknown): boolean =>
  error instanceof pg.DatabaseError && error.code === '40P01';

async function acquire(db: Db): Promise<pg.ClientBase> {
  try {
    return await db.client.acquireConnection();
  } catch (error) {
    if (error instanceof Error) away.add(error);
    throw error;
  }
}

/** @throws also when Postgres answers the commit of a failed transaction by rolling it back, which is no error to it */
async function commit(connection: pg.ClientBase): Promise<void> {
  const { command } = await connection.query('commit');
  if (command !== 'COMMIT') throw new Error(`the commit was answered with ${command}`);
}

/**
 * The last statement of a transaction, with the commit right behind it in one round trip. Whoever began the transaction
 * (`inTransaction`) waits for the commit; when the statement fails nothing is committed.
 */
export function queryAndCommit<Row>(
  trx: Trx,
  sql: string,
  bindings: Record<string, unknown> = {},
): Promise<Row[]> {
  const answer = send<Row>(trx.driver, sql, bindings);
  trx.committing = commit(trx.driver);
  // The statement's own error is the one to tell.
  trx.committing.catch(() => undefined);
  return answer;
}

/** A statement as the driver takes it: `:name` became `$1`, `$2` …, one for each place it stands in. */
interface Statement {
  /** Named, so that it is parsed and planned once per connection (a proxy between must therefore keep sessions). */
  name: string;
  text: string;
  /** Binding of each placeholder, in order. */
  order: string[];
}

const statements = new Map<string, Statement>();

function statementOf(sql: string): Statement {
  const known = statements.get(sql);
  if (known !== undefined) return known;
  const order: string[] = [];
  const text = sql.replace(/(?<![:\w]):([a-z]\w*)/g, (_, binding: string) => `$${order.push(binding)}`);
  const name = `st_${createHash('sha256').update(sql).digest('hex').slice(0, 24)}`;
  const statement = { name, text, order };
  statements.set(sql, statement);
  return statement;
}

/** Run a statement for its effect. */
export async function execute(
  db: Queryable,
  sql: string,
  bindings: Record<string, unknown> = {},
): Promise<void> {
  await query(db, sql, bindings);
}

/** Rows of a statement with `:name` bindings, typed by the caller who wrote the column list. */
export async function query<Row>(
  db: Queryable,
  sql: string,
  bindings: Record<string, unknown> = {},
): Promise<Row[]> {
  if ('driver' in db) return send<Row>(db.driver, sql, bindings);
  if (db.isTransaction) return ((await db.raw(sql, bindings as never)) as { rows: Row[] }).rows;
  const connection = await acquire(db);
  try {
    return await send<Row>(connection, sql, bindings);
  } finally {
    db.client.releaseConnection(connection);
  }
}

async function send<Row>(
  connection: pg.ClientBase,
  sql: string,
  bindings: Record<string, unknown>,
): Promise<Row[]> {
  const { name, text, order } = statementOf(sql);
  const values = order.map((binding) => {
    const value = bindings[binding];
    if (value === undefined) throw new Error(`the statement needs a binding :${binding}`);
    return value;
  });
  return (await connection.query({ name, text, values })).rows as Row[];
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
