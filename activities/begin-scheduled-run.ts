import type { ScheduleActivities } from '../contracts/schedule-io.ts';
import { beginDueRun } from '../domain/schedules/begin.ts';
import { type ActivityDeps, runActivity } from './run-activity.ts';

/** A due time has come: begin the run of its schedule, or write down why there is none. */
export const createBeginScheduledRun =
  (deps: ActivityDeps): ScheduleActivities['beginScheduledRun'] =>
  (due) =>
    runActivity(deps, () => beginDueRun(deps, due));
