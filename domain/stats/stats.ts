/** Figures of the hub for people and charts: how many agents and tasks there are, what the server uses up. */
import type { StatsFigures } from '../../contracts/stats.ts';
import {
  countAgents,
  countTasks,
  hasSnapshotOfNow,
  insertSnapshot,
  listSnapshots,
  type SnapshotRow,
  thinSnapshots,
} from '../../db/stats.ts';
import type { Actor, DomainDeps } from '../deps.ts';
import { assertCan } from '../policy.ts';

/** How long snapshots are kept, days: one a minute, one a quarter of an hour, one an hour. */
export const SNAPSHOT_DAYS = { 1: 2, 15: 30, 60: 365 } as const;
/** Rows of one delete. */
const THIN_BATCH = 1_000;
const DAY_MS = 24 * 60 * 60 * 1_000;

/** What the process that answers uses up. */
export type ReadResources = () => StatsFigures['resources'];

export type StatsDeps = Pick<DomainDeps, 'db'> & { readResources: ReadResources };

/** The figures of now. They are of everything, and name nothing. @throws forbidden */
export async function readStats(deps: StatsDeps, actor: Actor): Promise<StatsFigures> {
  assertCan(actor.principal, 'read', 'system');
  return countAll(deps);
}

/** Newest first. @throws forbidden */
export async function listStatsHistory(
  deps: Pick<DomainDeps, 'db'>,
  actor: Actor,
  page: { limit: number; offset: number },
): Promise<SnapshotRow[]> {
  assertCan(actor.principal, 'read', 'system');
  return listSnapshots(deps.db, page);
}

/** Keep the figures of this minute, unless somebody has. @returns how many were kept: 0 or 1 */
export async function takeSnapshot(deps: StatsDeps): Promise<number> {
  if (await hasSnapshotOfNow(deps.db)) return 0;
  return (await insertSnapshot(deps.db, await countAll(deps))) ? 1 : 0;
}

/** Forget what is finer than its age deserves. @returns how many snapshots */
export async function thinHistory({ db }: Pick<DomainDeps, 'db'>, signal: AbortSignal): Promise<number> {
  let total = 0;
  for (const step of [1, 15, 60] as const) {
    const olderThan = new Date(Date.now() - SNAPSHOT_DAYS[step] * DAY_MS);
    let count = THIN_BATCH;
    while (count === THIN_BATCH && !signal.aborted) {
      count = await thinSnapshots(db, step, olderThan, THIN_BATCH);
      total += count;
    }
  }
  return total;
}

async function countAll({ db, readResources }: StatsDeps): Promise<StatsFigures> {
  const [agents, tasks] = await Promise.all([countAgents(db), countTasks(db)]);
  return { agents, tasks, resources: readResources() };
}
