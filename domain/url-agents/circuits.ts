/** The circuits of agents with an address, for whoever looks at them and closes them by hand. */
import { listFailingUrlAgents, resetUrlFailures } from '../../db/url-agents.ts';
import type { CircuitsPort } from '../autopilot/circuits.ts';
import type { DomainDeps } from '../deps.ts';
import { assertCan } from '../policy.ts';
import { transact } from '../transact.ts';
import { normalUrl } from './deps.ts';

export const createCircuits = (deps: DomainDeps): CircuitsPort => ({
  async list() {
    const failing = await listFailingUrlAgents(deps.db);
    return failing.map(({ url, openUntil, failureStreak }) => ({ workerUrl: url, openUntil, failureStreak }));
  },
  async reset(actor, workerUrl) {
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
  },
});
