import {
  backfillScheduleRoute,
  createScheduleRoute,
  deleteScheduleRoute,
  getScheduleRoute,
  listScheduleRunsRoute,
  listSchedulesRoute,
  pauseScheduleRoute,
  previewScheduleRoute,
  resumeScheduleRoute,
  triggerScheduleRoute,
  updateScheduleRoute,
} from '../../../contracts/schedule-routes.ts';
import { requestKeyOf } from '../../../domain/idempotency.ts';
import type { IdentityDeps } from '../../../domain/identity/deps.ts';
import { backfillSchedule, triggerSchedule } from '../../../domain/schedules/by-hand.ts';
import { previewTiming } from '../../../domain/schedules/preview.ts';
import {
  createSchedule,
  deleteSchedule,
  getSchedule,
  listRunPage,
  listSchedulePage,
  pauseSchedule,
  resumeSchedule,
  updateSchedulePartly,
} from '../../../domain/schedules/store.ts';
import { type MountedRoute, mount } from '../../mount.ts';

/** `/v1/schedules`. */
export function scheduleRoutes(deps: IdentityDeps): MountedRoute[] {
  return [
    mount(listSchedulesRoute, async (request) => ({
      status: 200,
      body: await listSchedulePage(deps, request, request.query),
    })),
    mount(createScheduleRoute, async (request) => {
      const { body } = request;
      const schedule = await createSchedule(deps, request, body, { requestKey: requestKeyOf(request, body) });
      return { status: 201, headers: { Location: `/v1/schedules/${schedule.id}` }, body: schedule };
    }),
    mount(previewScheduleRoute, async (request) => ({
      status: 200,
      body: previewTiming(request, request.body),
    })),
    mount(getScheduleRoute, async (request) => ({
      status: 200,
      body: await getSchedule(deps, request, request.params.scheduleId),
    })),
    mount(updateScheduleRoute, async (request) => ({
      status: 200,
      body: await updateSchedulePartly(deps, request, request.params.scheduleId, request.body),
    })),
    mount(deleteScheduleRoute, async (request) => {
      await deleteSchedule(deps, request, request.params.scheduleId);
      return { status: 204 };
    }),
    mount(pauseScheduleRoute, async (request) => ({
      status: 200,
      body: await pauseSchedule(deps, request, request.params.scheduleId, request.body.note),
    })),
    mount(resumeScheduleRoute, async (request) => ({
      status: 200,
      body: await resumeSchedule(deps, request, request.params.scheduleId, request.body.note),
    })),
    mount(triggerScheduleRoute, async (request) => {
      const { params, body } = request;
      const key = requestKeyOf(request, body);
      return {
        status: 201,
        body: await triggerSchedule(triggerDeps(deps), request, params.scheduleId, body, key),
      };
    }),
    mount(backfillScheduleRoute, async (request) => {
      const { params, body } = request;
      const key = requestKeyOf(request, body);
      return {
        status: 201,
        body: { runIds: await backfillSchedule(deps, request, params.scheduleId, body, key) },
      };
    }),
    mount(listScheduleRunsRoute, async (request) => ({
      status: 200,
      body: await listRunPage(deps, request, request.params.scheduleId, request.query),
    })),
  ];
}

/** A run that is asked for begins in this process. */
const triggerDeps = (deps: IdentityDeps) => ({ ...deps, agentTokenAdmin: deps.identity.agentTokenAdmin });
