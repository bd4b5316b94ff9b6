import type { TaskActivities } from '../contracts/workflow-io.ts';
import { proposeStep } from '../domain/tasks/engine.ts';
import { type ActivityDeps, runActivity } from './run-activity.ts';

/** Claim, assign, ask the model, write the step (or finish the task). Idempotent per (task run, step). */
export const createPropose =
  (deps: ActivityDeps): TaskActivities['propose'] =>
  (ref) =>
    runActivity(deps, (signal) => proposeStep(deps, ref, signal));
