/** The clock's duties on the ledger (promise P2: one final outcome in bounded time). */
import { lockOpenCommands } from '../../db/command-changes.ts';
import type { DomainDeps } from '../deps.ts';
import { transact } from '../transact.ts';
import { serverEnd, settleCommands } from './settle.ts';

/** End queued commands whose time to be started is over. Returns how many. */
export async function expireQueued(deps: DomainDeps, limit: number): Promise<number> {
  return transact(deps, async (unit) => {
    const rows = await lockOpenCommands(unit.trx, { kind: 'expired', limit });
    await settleCommands(
      unit,
      rows.map((row) => serverEnd(row, 'expired', 'not_started_in_time')),
    );
    return rows.length;
  });
}

/** Call commands `unknown` whose agent owes an outcome for longer than the margin. Returns how many. */
export async function markOverdueUnknown(deps: DomainDeps, limit: number): Promise<number> {
  return transact(deps, async (unit) => {
    const rows = await lockOpenCommands(unit.trx, { kind: 'overdue', limit });
    await settleCommands(
      unit,
      rows.map((row) => serverEnd(row, 'unknown', 'agent_silent')),
    );
    return rows.length;
  });
}
