/** Who may see which events, and where a reader goes on. */

import { problem } from '../../contracts/errors.ts';
import type { EventQuery } from '../../contracts/event-routes.ts';
import type { EventType, EventView } from '../../contracts/events.ts';
import type { Principal } from '../../contracts/principal.ts';
import { type EventRow, readEventHorizon, readEvents } from '../../db/events.ts';
import type { Actor, DomainDeps } from '../deps.ts';
import { assertCan, can, visibleOwner } from '../policy.ts';
import { getTaskRow } from '../tasks/load.ts';

/** Rows of one page of a replay. */
const REPLAY_PAGE_ROWS = 200;
/** Largest xid8. */
const MAX_XID = 2n ** 64n - 1n;

/** What a reader asked for; visibility comes on top. */
export interface EventFilter {
  /** Row uuid of the task. */
  taskId: string | undefined;
  types: readonly EventType[] | undefined;
}

/** A place in the event log that was given out before: all of transactions below `xmin`, and event `id`, were read. */
export interface EventPosition {
  xmin: bigint;
  id: number;
}

/**
 * The filter a client means.
 * @throws forbidden, task_not_found (not there, or not visible)
 */
export async function openEventFilter(
  deps: DomainDeps,
  actor: Actor,
  query: Pick<EventQuery, 'taskId' | 'type'>,
): Promise<EventFilter> {
  assertCan(actor.principal, 'list', 'event');
  const task = query.taskId === undefined ? undefined : await getTaskRow(deps, actor, query.taskId, 'read');
  return { taskId: task?.id, types: typeof query.type === 'string' ? [query.type] : query.type };
}

/** Events without an owner are only for those who see all. */
export function canSeeEvent(principal: Principal, row: Pick<EventRow, 'ownerId'>): boolean {
  const owner = visibleOwner(principal, 'event');
  return can(principal, 'list', 'event') && (owner === undefined || owner === row.ownerId);
}

export const matchesFilter = (filter: EventFilter, row: EventRow): boolean =>
  (filter.taskId === undefined || filter.taskId === row.taskId) &&
  (filter.types === undefined || filter.types.includes(row.type));

/**
 * The position a client gives back. One ahead of the log (of another database, or made up) is refused: its reader would
 * wait for transactions that come later and miss those before.
 * @throws invalid_cursor
 */
export async function openPosition(deps: Pick<DomainDeps, 'db'>, cursor: string): Promise<EventPosition> {
  const [, xmin, id] = /^(\d{1,20})\.(\d{1,15})$/.exec(cursor) ?? [];
  if (xmin === undefined || id === undefined) throw problem('invalid_cursor');
  const position = { xmin: BigInt(xmin), id: Number(id) };
  if (position.xmin > MAX_XID || position.xmin > BigInt(await readEventHorizon(deps.db))) {
    throw problem('invalid_cursor');
  }
  return position;
}

export interface ReplayedEvent {
  row: EventRow;
  /** Where a reader who got everything up to this row resumes. */
  cursor: string;
}

/**
 * Everything the principal may see from a position on that is visible now, oldest first, in pages. What commits
 * meanwhile may be left out: the caller hears of it from the hub, to which it subscribed before.
 */
export async function* replayEvents(
  deps: Pick<DomainDeps, 'db'>,
  principal: Principal,
  filter: EventFilter,
  position: EventPosition,
): AsyncGenerator<ReplayedEvent[]> {
  const narrowing = { ...filter, ownerId: visibleOwner(principal, 'event') };
  const xid = position.xmin.toString();
  let horizon: bigint | undefined;
  let after: { xid: string; id: number } | undefined;
  for (;;) {
    const read = await readEvents(deps.db, { xid, after }, REPLAY_PAGE_ROWS, narrowing);
    horizon ??= BigInt(read.xmin);
    const stable = horizon;
    yield read.rows
      .filter((row) => row.id !== position.id)
      .map((row) => ({ row, cursor: `${smaller(BigInt(row.xid), stable)}.${row.id}` }));
    const last = read.rows.at(-1);
    if (read.rows.length < REPLAY_PAGE_ROWS || last === undefined) return;
    after = { xid: last.xid, id: last.id };
  }
}

/** Rows come in order of xid, and below the first horizon all of them are visible: both bound what was surely read. */
const smaller = (a: bigint, b: bigint): bigint => (a < b ? a : b);

/** An event as the house API shows it. */
export const presentEvent = (row: EventRow, cursor: string): EventView => ({
  id: cursor,
  type: row.type,
  at: row.at.toISOString(),
  taskId: row.taskPublicId,
  commandId: row.commandId,
  batchId: row.batchId,
  agentId: row.agentId,
  data: row.data,
});
