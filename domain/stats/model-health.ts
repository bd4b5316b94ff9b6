/** How the language model did lately, by what was asked of it anyway: a probe costs nothing. */
import { countRecentModelCalls } from '../../db/model-calls.ts';
import type { DomainDeps } from '../deps.ts';

/** How far back calls are looked at, minutes. */
export const MODEL_HEALTH_MINUTES = 15;

/** `ok`: nothing failed lately, or nothing was asked. `unstable`: some calls failed. `unreachable`: all of them. */
export type ModelHealth = 'ok' | 'unstable' | 'unreachable';

export async function readModelHealth({ db }: Pick<DomainDeps, 'db'>): Promise<ModelHealth> {
  const { calls, failed } = await countRecentModelCalls(db, MODEL_HEALTH_MINUTES);
  if (failed === 0) return 'ok';
  return failed === calls ? 'unreachable' : 'unstable';
}
