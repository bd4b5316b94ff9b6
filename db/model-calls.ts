/** How recent calls of the language model went. */
import { type Queryable, queryOne } from './database.ts';

/** Of the last minutes; calls that were broken off by whoever asked count as neither. */
export async function countRecentModelCalls(
  db: Queryable,
  minutes: number,
): Promise<{ calls: number; failed: number }> {
  const row = await queryOne<{ calls: number; failed: number }>(
    db,
    `select count(*) filter (where outcome <> 'aborted') as calls,
            count(*) filter (where outcome not in ('ok', 'aborted')) as failed
     from llm_calls where at > now() - make_interval(mins => :minutes)`,
    { minutes },
  );
  return row ?? { calls: 0, failed: 0 };
}
