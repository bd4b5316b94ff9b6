import { lockKeys } from '../../db/lock-keys.ts';
import { runDueTick } from '../../domain/autopilot/tick.ts';
import type { DomainDeps } from '../../domain/deps.ts';
import { defineDuty } from './duty.ts';

/** Set going the tasks of the active team, as often as the autopilot's interval says. A look at one row otherwise. */
export const autopilotTick = defineDuty<DomainDeps>({
  name: 'autopilot_tick',
  lockKey: lockKeys.duties.autopilotTick,
  everyMs: 1_000,
  run: (deps) => runDueTick(deps),
});
