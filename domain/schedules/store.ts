/** Make, read, change, pause and delete schedules. Each change is a revision that Temporal is told of (`sync.ts`). */
import { isDeepStrictEqual } from 'node:util';
import { v7 as uuidv7 } from 'uuid';
import { problem } from '../../contracts/errors.ts';
import { channels } from '../../contracts/events.ts';
import type { Verb } from '../../contracts/principal.ts';
import {
  type CreateScheduleBody,
  MAX_SCHEDULES,
  type ScheduleContent,
  type ScheduleDetailView,
  type ScheduleRunView,
  type ScheduleView,
  type UpdateScheduleBody,
} from '../../contracts/schedules.ts';
import type { Page } from '../../contracts/shared.ts';
import { listRuns } from '../../db/schedule-runs.ts';
import {
  countSchedules,
  findSchedule,
  insertSchedule,
  listSchedules,
  lockSchedule,
  markScheduleDeleted,
  notifySchedules,
  type ScheduleFields,
  type ScheduleRow,
  setAccounted,
  setPaused,
  updateSchedule,
} from '../../db/schedules.ts';
import { pageOfRows, uuidPositionOf } from '../cursor.ts';
import type { Actor } from '../deps.ts';
import { claimRequest, type RequestKey } from '../idempotency.ts';
import { assertCan, can, visibleOwner } from '../policy.ts';
import { transact, type Unit } from '../transact.ts';
import { accountPause, isOver } from './account.ts';
import { assertMayRun, type ScheduleDeps } from './authority.ts';
import { assertContent } from './check.ts';
import { assertOwnBounds, assertOwnCount } from './own-bounds.ts';
import { presentRun, presentSchedule, presentScheduleDetail } from './view.ts';

/** Newest first; whoever may not see all is shown their own. @throws forbidden, invalid_cursor */
export async function listSchedulePage(
  deps: ScheduleDeps,
  actor: Actor,
  query: { limit: number; cursor?: string | undefined; paused?: 'true' | 'false' | undefined },
): Promise<Page<ScheduleView>> {
  assertCan(actor.principal, 'list', 'schedule');
  const rows = await listSchedules(deps.db, {
    ownerId: visibleOwner(actor.principal, 'schedule'),
    isPaused: query.paused === undefined ? undefined : query.paused === 'true',
    before: uuidPositionOf(query.cursor),
    limit: query.limit + 1,
  });
  const page = pageOfRows(rows, query.limit, (row) => ({ at: row.createdAt, id: row.id }));
  return { items: page.items.map((row) => presentSchedule(row)), nextCursor: page.nextCursor };
}

/** @throws forbidden, schedule_not_found */
export async function getSchedule(deps: ScheduleDeps, actor: Actor, id: string): Promise<ScheduleDetailView> {
  assertCan(actor.principal, 'read', 'schedule');
  return presentScheduleDetail(visible(actor, id, 'read', await findSchedule(deps.db, id)));
}

export interface CreateScheduleOptions {
  requestKey: RequestKey | null;
  /** Named agents must be there; default true. */
  isAgentNeeded?: boolean;
}

/**
 * The same Idempotency-Key with the same body is the same schedule.
 * @throws forbidden, validation_failed, agent_not_found, agent_revoked, saved_command_not_found, conflict (too many),
 *   idempotency_conflict, schedule_not_found (made before with the key, and deleted)
 */
export async function createSchedule(
  deps: ScheduleDeps,
  actor: Actor,
  body: CreateScheduleBody,
  { requestKey, isAgentNeeded = true }: CreateScheduleOptions,
): Promise<ScheduleDetailView> {
  assertCan(actor.principal, 'create', 'schedule');
  assertMayRun(actor.principal, body.action);
  const row = await transact(deps, async (unit) => {
    const id = uuidv7();
    const earlier = await claimRequest(unit.trx, actor.principal, requestKey, 'schedule', id);
    if (earlier !== undefined) {
      return visible(actor, earlier, 'read', await findSchedule(unit.trx, earlier));
    }
    const fields = fieldsOf(body);
    assertOwnBounds(actor.principal, fields);
    await assertContent(unit, deps, fields, isAgentNeeded);
    if ((await countSchedules(unit.trx)) >= MAX_SCHEDULES) {
      throw problem('conflict', { reason: `there are ${MAX_SCHEDULES} schedules already` });
    }
    await assertOwnCount(unit.trx, actor.principal);
    const made = await insertSchedule(unit.trx, id, fields, actor.principal, body.paused);
    await announce(
      unit,
      actor,
      made,
      { action: 'schedule.create' },
      { timing: made.timing, target: made.target },
    );
    return made;
  });
  return presentScheduleDetail(row);
}

/**
 * What is not given stays as it is. Runs are in the actor's name from now on, so the actor needs the right to do what
 * the whole schedule does.
 * @throws as `createSchedule`; conflict (a newer revision)
 */
export async function updateSchedulePartly(
  deps: ScheduleDeps,
  actor: Actor,
  id: string,
  change: UpdateScheduleBody,
): Promise<ScheduleDetailView> {
  assertCan(actor.principal, 'update', 'schedule');
  await transact(deps, async (unit) => {
    const present = visible(actor, id, 'update', await lockSchedule(unit.trx, id));
    const { revision, startAt, endAt, ...given } = change;
    if (revision !== undefined && revision !== present.revision) {
      throw problem('conflict', { reason: `its revision is ${present.revision}` });
    }
    const fields: ScheduleFields = {
      ...contentOf(present),
      ...Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)),
      ...(startAt !== undefined && { startAt: dateOf(startAt) }),
      ...(endAt !== undefined && { endAt: dateOf(endAt) }),
    };
    assertMayRun(actor.principal, fields.action);
    assertOwnBounds(actor.principal, fields);
    // Agents that have gone since do not keep a schedule from being changed.
    await assertContent(unit, deps, fields, change.target !== undefined);
    await accountPause(unit, present, new Date());
    await updateSchedule(unit.trx, id, fields, actor.principal, keepsTimes(present, fields));
    await announce(
      unit,
      actor,
      present,
      { action: 'schedule.update' },
      {
        fields: Object.keys(change),
        revision: present.revision + 1,
      },
    );
  });
  return getSchedule(deps, actor, id);
}

/** The same times are due as before, and those until now were due: each of them still gets its row. */
const keepsTimes = (present: ScheduleRow, next: ScheduleFields): boolean =>
  !isOver(present) &&
  isDeepStrictEqual(present.timing, next.timing) &&
  present.startAt?.getTime() === next.startAt?.getTime() &&
  present.endAt?.getTime() === next.endAt?.getTime();

/** Paused again, it stays paused as it was, with the newer note. @throws forbidden, schedule_not_found */
export const pauseSchedule = (
  deps: ScheduleDeps,
  actor: Actor,
  id: string,
  note: string | undefined,
): Promise<ScheduleDetailView> =>
  changePause(deps, actor, id, async (unit, present) => {
    if (present.pausedAt !== null && (note === undefined || note === present.pauseNote)) return false;
    await setPaused(unit.trx, id, present.pausedAt ?? new Date(), note ?? null);
    await announce(unit, actor, present, { action: 'schedule.pause' }, { note: note ?? null });
    return true;
  });

/**
 * What came due in the pause is recorded as skipped. It runs on in the name of its editor: the actor needs the right to
 * do what it does, as for a change of it.
 * @throws forbidden, schedule_not_found
 */
export const resumeSchedule = (
  deps: ScheduleDeps,
  actor: Actor,
  id: string,
  note: string | undefined,
): Promise<ScheduleDetailView> =>
  changePause(deps, actor, id, async (unit, present) => {
    if (present.pausedAt === null) return false;
    assertMayRun(actor.principal, present.action);
    const now = new Date();
    await accountPause(unit, present, now);
    await setPaused(unit.trx, id, null, note ?? null);
    // What came due before the pause may still be on its way.
    if (present.accountedUntil >= present.pausedAt) await setAccounted(unit.trx, id, now, now);
    await announce(unit, actor, present, { action: 'schedule.resume' }, { note: note ?? null });
    return true;
  });

async function changePause(
  deps: ScheduleDeps,
  actor: Actor,
  id: string,
  change: (unit: Unit, present: ScheduleRow) => Promise<boolean>,
): Promise<ScheduleDetailView> {
  assertCan(actor.principal, 'update', 'schedule');
  await transact(deps, async (unit) => {
    await change(unit, visible(actor, id, 'update', await lockSchedule(unit.trx, id)));
  });
  return getSchedule(deps, actor, id);
}

/** What has begun goes on; what waits is skipped. @throws forbidden, schedule_not_found */
export async function deleteSchedule(deps: ScheduleDeps, actor: Actor, id: string): Promise<void> {
  assertCan(actor.principal, 'delete', 'schedule');
  await transact(deps, async (unit) => {
    const present = visible(actor, id, 'delete', await lockSchedule(unit.trx, id));
    await markScheduleDeleted(unit.trx, id);
    await announce(unit, actor, present, { action: 'schedule.delete' }, {});
  });
}

/** Latest due time first. @throws forbidden, schedule_not_found, invalid_cursor */
export async function listRunPage(
  deps: ScheduleDeps,
  actor: Actor,
  id: string,
  query: { limit: number; cursor?: string | undefined; state?: ScheduleRunView['state'] | undefined },
): Promise<Page<ScheduleRunView>> {
  assertCan(actor.principal, 'read', 'schedule');
  visible(actor, id, 'read', await findSchedule(deps.db, id));
  const rows = await listRuns(deps.db, {
    scheduleId: id,
    state: query.state,
    before: uuidPositionOf(query.cursor),
    limit: query.limit + 1,
  });
  const page = pageOfRows(rows, query.limit, (row) => ({ at: row.dueAt, id: row.id }));
  return { items: page.items.map(presentRun), nextCursor: page.nextCursor };
}

/** Not there, deleted and not the actor's are the same answer. @throws schedule_not_found, forbidden */
export function visible(actor: Actor, id: string, verb: Verb, row: ScheduleRow | undefined): ScheduleRow {
  if (
    row === undefined ||
    row.deletedAt !== null ||
    !can(actor.principal, 'read', 'schedule', row.creatorId)
  ) {
    throw problem('schedule_not_found', { scheduleId: id });
  }
  assertCan(actor.principal, verb, 'schedule', row.creatorId);
  return row;
}

type Announced = `schedule.${'create' | 'update' | 'pause' | 'resume' | 'delete'}`;

async function announce(
  unit: Unit,
  actor: Actor,
  row: ScheduleRow,
  { action }: { action: Announced },
  details: Record<string, unknown>,
): Promise<void> {
  const facts = { name: row.name, action: row.action.kind, ...details };
  unit.audit(actor, { action, targetKind: 'schedule', targetId: row.id, details: facts });
  const type =
    action === 'schedule.create'
      ? 'schedule.created'
      : action === 'schedule.delete'
        ? 'schedule.deleted'
        : 'schedule.updated';
  unit.emit(type, { ownerId: row.creatorId, data: { scheduleId: row.id, change: action.split('.')[1] } });
  await notifySchedules(unit.trx, channels.schedules);
}

/** Whole seconds, as Temporal counts. */
export const dateOf = (text: string | null): Date | null =>
  text === null ? null : new Date(Math.floor(Date.parse(text) / 1_000) * 1_000);

const fieldsOf = ({ startAt, endAt, ...content }: ScheduleContent): ScheduleFields => ({
  ...content,
  startAt: dateOf(startAt),
  endAt: dateOf(endAt),
});

const contentOf = (row: ScheduleRow): ScheduleFields => ({
  name: row.name,
  note: row.note,
  timing: row.timing,
  action: row.action,
  target: row.target,
  overlap: row.overlap,
  catchUpWindowMs: row.catchUpWindowMs,
  jitterMs: row.jitterMs,
  startAt: row.startAt,
  endAt: row.endAt,
  maxRuns: row.maxRuns,
});
