/** The ledger's rows of agents that keep no journal. */
import { UNKNOWN_MARGIN_MS } from '../contracts/command-states.ts';
import { execute, type Queryable } from './database.ts';

/**
 * These commands have left for an agent that never says that it has one: it owes its answer from now on, not from the
 * end of the time to be started.
 */
export async function oweAnswersSoon(db: Queryable, commandIds: readonly string[]): Promise<void> {
  if (commandIds.length === 0) return;
  await execute(
    db,
    `with out as (
       select command_id from commands where command_id = any(cast(:ids as uuid[])) and state = 'sent'
       order by command_id for no key update
     )
     update commands c
     set overdue_at = least(c.overdue_at, c.sent_at + make_interval(secs => (c.timeout_ms + :margin_ms) / 1000.0))
     from out where c.command_id = out.command_id`,
    { ids: [...commandIds], margin_ms: UNKNOWN_MARGIN_MS },
  );
}
