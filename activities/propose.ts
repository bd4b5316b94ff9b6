import type { TaskActivities } from '../contracts/workflow-io.ts';
import { takeSteps } from '../domain/tasks/take-steps.ts';
import { type ActivityDeps, runActivity } from './run-activity.ts';

/** Claim, assign, ask the model, write the step (or finish the task); stay for a quick outcome. Idempotent per (task run, step). */
export const createPropose =
  (deps: ActivityDeps): TaskActivities['propose'] =>
  (ref) =>
    runActivity(deps, (signal) => takeSteps(deps, ref, signal));
