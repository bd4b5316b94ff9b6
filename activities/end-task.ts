import type { TaskActivities } from '../contracts/workflow-io.ts';
import { endTask } from '../domain/tasks/engine.ts';
import { type ActivityDeps, runActivity } from './run-activity.ts';

/** End a task from the engine's side. A batch that is out is stopped, and named so that it can be waited for. */
export const createEndTask =
  (deps: ActivityDeps): TaskActivities['endTask'] =>
  (ref) =>
    runActivity(deps, () => endTask(deps, ref));
