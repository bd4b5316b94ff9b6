/** Calls counted in windows that all processes share. */
import { execute, type Queryable, queryOne } from './database.ts';

export interface CountedCall {
  /** Calls of this window, this one included. */
  calls: number;
  /** Until the window ends, milliseconds. */
  msLeft: number;
}

/** Count one call, in one statement: of any number of parallel calls each gets its own number. */
export async function countCall(db: Queryable, key: string, windowMs: number): Promise<CountedCall> {
  const row = await queryOne<CountedCall>(
    db,
    `insert into rate_windows as w (key, calls, ends_at)
     values (:key, 1, now() + :window_ms * interval '1 millisecond')
     on conflict (key) do update set
       calls = case when w.ends_at <= now() then 1 else w.calls + 1 end,
       ends_at = case when w.ends_at <= now() then excluded.ends_at else w.ends_at end
     returning calls, cast(extract(epoch from ends_at - now()) * 1000 as double precision) as "msLeft"`,
    { key, window_ms: windowMs },
  );
  if (row === undefined) throw new Error('an upsert returned no row');
  return row;
}

/** Forget windows that have ended. */
export async function deleteEndedWindows(db: Queryable): Promise<void> {
  await execute(
    db,
    `delete from rate_windows where key in (
       select key from rate_windows where ends_at < now() limit 1000 for update skip locked)`,
  );
}
