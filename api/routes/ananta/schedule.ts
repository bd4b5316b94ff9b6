import { validate as isUuid } from 'uuid';
import { isProblem, problem } from '../../../contracts/errors.ts';
import {
  type AnantaSchedule,
  anantaCreateScheduleRoute,
  anantaDeleteScheduleRoute,
  anantaListSchedulesRoute,
} from '../../../contracts/families/ananta/schedule.ts';
import {
  type CreateScheduleBody,
  createScheduleBodySchema,
  MAX_INTERVAL_MS,
  type ScheduleView,
} from '../../../contracts/schedules.ts';
import type { Actor, DomainDeps } from '../../../domain/deps.ts';
import { requestKeyOf } from '../../../domain/idempotency.ts';
import { findLastRuns } from '../../../domain/schedules/last-runs.ts';
import { createSchedule, deleteSchedule, listSchedulePage } from '../../../domain/schedules/store.ts';
import { type MountedRoute, mount } from '../../mount.ts';
import { given, success } from './envelope.ts';

/** Longest name that is made of a command, characters. */
const MAX_NAME_LENGTH = 80;

type AnantaScheduleDeps = DomainDeps & {
  /** The agent of the server's own machine. */
  localAgentId: string;
};

/** `/schedule`. */
export function anantaScheduleRoutes(deps: AnantaScheduleDeps): MountedRoute[] {
  return [
    mount(anantaListSchedulesRoute, async (request) => {
      const schedules = (await listAll(deps, request)).filter(isAnanta);
      const lastRuns = await findLastRuns(
        deps,
        request,
        schedules.map(({ id }) => id),
      );
      const data = schedules.map((schedule) => present(schedule, lastRuns.get(schedule.id)));
      return { status: 200, body: success(data) };
    }),
    mount(anantaCreateScheduleRoute, async (request) => {
      const command = given(request.body.command, 'command and interval_seconds are required');
      const seconds = secondsOf(request.body.interval_seconds);
      const schedule = await createSchedule(deps, request, bodyOf(command, seconds, deps.localAgentId), {
        requestKey: requestKeyOf(request, { command, seconds }),
        isAgentNeeded: false,
      });
      if (!isAnanta(schedule)) throw problem('idempotency_conflict');
      return { status: 201, body: success(present(schedule, undefined)) };
    }),
    mount(anantaDeleteScheduleRoute, async (request) => {
      await deleteIfThere(deps, request, request.params.scheduleId);
      return { status: 200, body: success({ status: 'deleted' as const }) };
    }),
  ];
}

/** Clients may send the number as text. @throws invalid_request */
function secondsOf(value: unknown): number {
  if (value === undefined || value === null || value === '') {
    throw problem('invalid_request', { reason: 'command and interval_seconds are required' });
  }
  const isNumber = typeof value === 'number' || (typeof value === 'string' && /^\d{1,9}$/.test(value));
  const seconds = isNumber ? Number(value) : Number.NaN;
  if (!Number.isInteger(seconds) || seconds < 1 || seconds * 1_000 > MAX_INTERVAL_MS) {
    const reason = `interval_seconds must be a whole number from 1 to ${MAX_INTERVAL_MS / 1_000}`;
    throw problem('invalid_request', { reason });
  }
  return seconds;
}

/** The name is the start of the command, on one line. */
function bodyOf(command: string, seconds: number, agentId: string): CreateScheduleBody {
  const everyMs = seconds * 1_000;
  // Rounded up, so that a whole interval lies before the first run.
  const offsetMs = (Math.ceil(Date.now() / 1_000) * 1_000) % everyMs;
  const line = command.replace(/[\p{Cc}\p{Cs}\s]+/gu, ' ').trim();
  const name = [...line].slice(0, MAX_NAME_LENGTH).join('').trim();
  if (name === '') throw problem('invalid_request', { reason: 'command and interval_seconds are required' });
  return createScheduleBodySchema.parse({
    name,
    timing: { kind: 'interval', everyMs, offsetMs },
    action: { kind: 'command', act: { command } },
    target: { agentIds: [agentId] },
  });
}

type AnantaView = ScheduleView & {
  timing: { kind: 'interval'; everyMs: number };
  action: { kind: 'command'; act: { command: string } };
};

/** Of the house's schedules those that clients of the family have words for. */
const isAnanta = (schedule: ScheduleView): schedule is AnantaView =>
  schedule.timing.kind === 'interval' &&
  schedule.action.kind === 'command' &&
  schedule.action.act.command !== undefined;

const present = (schedule: AnantaView, lastRun: Date | undefined): AnantaSchedule => ({
  id: schedule.id,
  command: schedule.action.act.command,
  interval_seconds: schedule.timing.everyMs / 1_000,
  next_run: schedule.nextRunAt === null ? null : Date.parse(schedule.nextRunAt) / 1_000,
  last_run: lastRun === undefined ? null : lastRun.getTime() / 1_000,
  enabled: schedule.state === 'active',
});

async function deleteIfThere(deps: DomainDeps, actor: Actor, id: string): Promise<void> {
  if (!isUuid(id)) return;
  try {
    await deleteSchedule(deps, actor, id);
  } catch (error) {
    if (!isProblem(error, 'schedule_not_found')) throw error;
  }
}

/** Schedules of one page of the list. */
const PAGE_SIZE = 200;

/** Clients of the family know no pages. */
async function listAll(deps: DomainDeps, actor: Actor): Promise<ScheduleView[]> {
  const schedules: ScheduleView[] = [];
  let cursor: string | undefined;
  do {
    const page = await listSchedulePage(deps, actor, { limit: PAGE_SIZE, cursor });
    schedules.push(...page.items);
    cursor = page.nextCursor ?? undefined;
  } while (cursor !== undefined);
  return schedules;
}
