import type { TaskActivities } from '../contracts/workflow-io.ts';
import { expireApproval } from '../domain/tasks/engine.ts';
import { type ActivityDeps, runActivity } from './run-activity.ts';

/** The approval timer fired: compete with the decisions for the row, and say what it holds now. */
export const createExpireApproval =
  (deps: ActivityDeps): TaskActivities['expireApproval'] =>
  (ref) =>
    runActivity(deps, () => expireApproval(deps, ref));
