/** Read rollouts: one, a page of them, their targets and batches. */
import { type CommandState, isFinalCommandState } from '../../contracts/command-states.ts';
import { problem } from '../../contracts/errors.ts';
import type {
  RolloutBatchView,
  RolloutListQuery,
  RolloutTargetQuery,
  RolloutTargetView,
  RolloutView,
} from '../../contracts/rollouts.ts';
import type { Page } from '../../contracts/shared.ts';
import { listCurrentBatches, listRolloutBatches, type RolloutBatchRow } from '../../db/rollout-batches.ts';
import { countBatchStates, listRolloutTargets, type RolloutTargetRow } from '../../db/rollout-targets.ts';
import { findRollout, listRollouts, type RolloutRow } from '../../db/rollouts.ts';
import { pageOfRows, positionOf, uuidPositionOf } from '../cursor.ts';
import type { Actor, DomainDeps } from '../deps.ts';
import { assertCan } from '../policy.ts';
import { tallyOf } from './batches.ts';

const time = (date: Date | null): string | null => date?.toISOString() ?? null;

/** @throws forbidden, rollout_not_found */
export async function getRollout(deps: DomainDeps, actor: Actor, rolloutId: string): Promise<RolloutView> {
  const row = await getRow(deps, actor, rolloutId);
  const [view] = await present(deps, [row]);
  if (view === undefined) throw new Error('one row is one view');
  return view;
}

/** Newest first. @throws forbidden, invalid_cursor */
export async function listRolloutPage(
  deps: DomainDeps,
  actor: Actor,
  query: RolloutListQuery,
): Promise<Page<RolloutView>> {
  assertCan(actor.principal, 'list', 'rollout');
  const before = uuidPositionOf(query.cursor);
  const rows = await listRollouts(deps.db, { state: query.state, before, limit: query.limit + 1 });
  const page = pageOfRows(rows, query.limit, (row) => ({ at: row.createdAt, id: row.id }));
  return { items: await present(deps, page.items), nextCursor: page.nextCursor };
}

/** How each target ended, in the order of their turn. @throws forbidden, rollout_not_found, invalid_cursor */
export async function listTargetPage(
  deps: DomainDeps,
  actor: Actor,
  rolloutId: string,
  { limit, cursor, state, batchNo }: RolloutTargetQuery,
): Promise<Page<RolloutTargetView>> {
  await getRow(deps, actor, rolloutId);
  const after = numberOf(cursor) ?? -1;
  const rows = await listRolloutTargets(deps.db, rolloutId, { after, limit: limit + 1, state, batchNo });
  const page = pageOfRows(rows, limit, (row) => numbered(row.position));
  return { items: page.items.map(presentTarget), nextCursor: page.nextCursor };
}

/** In the order of their turn. @throws forbidden, rollout_not_found, invalid_cursor */
export async function listBatchPage(
  deps: DomainDeps,
  actor: Actor,
  rolloutId: string,
  { limit, cursor }: { limit: number; cursor?: string | undefined },
): Promise<Page<RolloutBatchView>> {
  const rollout = await getRow(deps, actor, rolloutId);
  const after = numberOf(cursor) ?? 0;
  const rows = await listRolloutBatches(deps.db, rolloutId, { after, limit: limit + 1 });
  const page = pageOfRows(rows, limit, (row) => numbered(row.batchNo));
  return { items: page.items.map((row) => presentBatch(rollout, row)), nextCursor: page.nextCursor };
}

/** Lists by number use the cursor of lists by time: the number stands where the time does. */
const numbered = (number: number) => ({ at: new Date(number), id: String(number) });
const numberOf = (cursor: string | undefined): number | undefined => {
  const at = positionOf(cursor)?.at.getTime();
  if (at !== undefined && at > 2_147_483_647) throw problem('invalid_cursor');
  return at;
};

/** @throws forbidden, rollout_not_found */
async function getRow(deps: DomainDeps, actor: Actor, rolloutId: string): Promise<RolloutRow> {
  assertCan(actor.principal, 'read', 'rollout');
  const row = await findRollout(deps.db, rolloutId);
  if (row === undefined) throw problem('rollout_not_found', { rolloutId });
  return row;
}

/** Rows as clients see them, with what has come in of the batches that are out. */
async function present(deps: DomainDeps, rows: readonly RolloutRow[]): Promise<RolloutView[]> {
  const current = await listCurrentBatches(deps.db, rows);
  const batchOf = (id: string, no: number) =>
    current.find((one) => one.rolloutId === id && one.batchNo === no);
  const out = rows.flatMap((row) => {
    const batch = batchOf(row.id, row.batchNo);
    return batch === undefined || batch.finishedAt !== null ? [] : batch.batchIds;
  });
  const states = await countBatchStates(deps.db, out);
  return rows.map((row) => {
    const last = batchOf(row.id, row.batchNo);
    const ids = new Set(last === undefined || last.finishedAt !== null ? [] : last.batchIds);
    const live = states.filter(({ batchId }) => ids.has(batchId));
    return presentRollout(row, last, batchOf(row.id, row.batchNo + 1), live);
  });
}

function presentRollout(
  row: RolloutRow,
  last: RolloutBatchRow | undefined,
  next: RolloutBatchRow | undefined,
  live: readonly { state: string; count: number }[],
): RolloutView {
  const isIn = ({ state }: { state: string }) => isFinalCommandState(state as CommandState);
  const come = tallyOf(live.filter(isIn).map(({ state, count }) => ({ outcome: state, count })));
  const out = live.filter((one) => !isIn(one)).reduce((sum, { count }) => sum + count, 0);
  const counted = { ...row.tally };
  for (const word of ['succeeded', 'failed', 'canceled'] as const) counted[word] += come[word];
  if (last !== undefined && last.finishedAt === null) {
    counted.skipped += last.size - live.reduce((sum, { count }) => sum + count, 0);
  }
  const settled = counted.succeeded + counted.failed + counted.canceled + counted.skipped;
  return {
    id: row.id,
    name: row.name,
    state: row.state,
    reason: row.reason,
    createdBy: { kind: row.creatorKind, id: row.creatorId, name: row.creatorName },
    agents: row.selection,
    run: row.run,
    plan: row.plan,
    rerunOf: row.rerunOf,
    batchNo: row.batchNo,
    batchCount: row.batchCount,
    counts: { total: row.targetCount, pending: row.targetCount - settled - out, out, ...counted },
    nextBatchAt: time(row.nextBatchAt),
    approvalExpiresAt: time(row.approvalExpiresAt),
    nextBatch: next === undefined || row.endedAt !== null ? null : nextOf(next),
    pausedAt: time(row.pausedAt),
    cancelRequestedAt: time(row.cancelRequestedAt),
    createdAt: row.createdAt.toISOString(),
    startedAt: time(row.startedAt),
    endedAt: time(row.endedAt),
  };
}

const approverOf = ({ approverKind, approverId, approverName }: RolloutBatchRow) =>
  approverKind === null || approverId === null || approverName === null
    ? null
    : { kind: approverKind, id: approverId, name: approverName };

const nextOf = (batch: RolloutBatchRow): NonNullable<RolloutView['nextBatch']> => ({
  batchNo: batch.batchNo,
  size: batch.size,
  digest: batch.digest,
  approvedBy: approverOf(batch),
});

const presentBatch = ({ hasCanary }: RolloutRow, batch: RolloutBatchRow): RolloutBatchView => ({
  ...nextOf(batch),
  isCanary: hasCanary && batch.batchNo === 1,
  batchIds: batch.batchIds,
  approvedAt: time(batch.approvedAt),
  startedAt: time(batch.startedAt),
  finishedAt: time(batch.finishedAt),
  counts: batch.tally,
});

const presentTarget = (row: RolloutTargetRow): RolloutTargetView => ({
  agentId: row.agentId,
  hostname: row.hostname,
  batchNo: row.batchNo,
  state: row.state,
  reason: row.reason,
  digest: row.digest,
  commandId: row.commandId,
  exitCode: row.exitCode,
  finishedAt: time(row.finishedAt),
});
