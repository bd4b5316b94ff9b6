import type { TaskActivities } from '../contracts/workflow-io.ts';
import { readBatch } from '../domain/tasks/engine.ts';
import { type ActivityDeps, runActivity } from './run-activity.ts';

/** Is the batch in? The backstop of a lost signal. */
export const createReadBatch =
  (deps: ActivityDeps): TaskActivities['readBatch'] =>
  (batchId) =>
    runActivity(deps, () => readBatch(deps, batchId));
