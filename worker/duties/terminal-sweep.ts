import { lockKeys } from '../../db/lock-keys.ts';
import type { DomainDeps } from '../../domain/deps.ts';
import { endOverdueTerminals } from '../../domain/terminal/sessions.ts';
import { defineDuty } from './duty.ts';

/** Sessions ended in one unit. */
const BATCH = 200;

/** No terminal stays open for ever because its agent never came back. */
export const terminalSweep = defineDuty<DomainDeps>({
  name: 'terminal_sweep',
  lockKey: lockKeys.duties.terminalSweep,
  everyMs: 60_000,
  run: (deps) => endOverdueTerminals(deps, BATCH),
});
