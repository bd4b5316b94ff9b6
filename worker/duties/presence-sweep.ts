import { lockKeys } from '../../db/lock-keys.ts';
import { sweepPresence } from '../../domain/agents/presence.ts';
import type { DomainDeps } from '../../domain/deps.ts';
import { defineDuty } from './duty.ts';

/** Release the connections of bridges that died without saying so. */
export const presenceSweep = defineDuty<DomainDeps>({
  name: 'presence_sweep',
  lockKey: lockKeys.duties.presenceSweep,
  everyMs: 5_000,
  run: (deps) => sweepPresence(deps),
});
