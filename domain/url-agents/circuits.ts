/** Agents with an address that have failed so often in a row that they are left alone for a while. */
import { listFailingUrlAgents, resetUrlFailures } from '../../db/url-agents.ts';
import type { Actor, DomainDeps } from '../deps.ts';
import { assertCan } from '../policy.ts';
import { transact } from '../transact.ts';
import { normalUrl } from './deps.ts';

export interface WorkerCircuit {
  workerUrl: string;
  /** Null: it is asked as always. */
  openUntil: Date | null;
  /** Failures in a row. */
  failureStreak: number;
}

/** Those that have failed last time they were asked. */
export async function listCircuits({ db }: Pick<DomainDeps, 'db'>): Promise<WorkerCircuit[]> {
  const failing = await listFailingUrlAgents(db);
  return failing.map(({ url, openUntil, failureStreak }) => ({ workerUrl: url, openUntil, failureStreak }));
}

/** Ask again at once: this one, or all (null). @returns how many there were @throws forbidden */
export async function resetCircuits(
  deps: DomainDeps,
  actor: Actor,
  workerUrl: string | null,
): Promise<number> {
  assertCan(actor.principal, 'update', 'team');
  return transact(deps, async (unit) => {
    const urls = await resetUrlFailures(unit.trx, workerUrl === null ? null : normalUrl(workerUrl));
    if (urls.length > 0) {
      unit.audit(actor, {
        action: 'agent.reset_circuit',
        targetKind: 'agent',
        targetId: workerUrl ?? '*',
        details: { urls },
      });
    }
    return urls.length;
  });
}
