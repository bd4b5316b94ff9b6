import type { TaskActivities } from '../contracts/workflow-io.ts';
import { judgeStep } from '../domain/tasks/judge-step.ts';
import { type ActivityDeps, runActivity } from './run-activity.ts';

/** The batch of a step whose execution is judged is in: another attempt, or the verdict. Idempotent. */
export const createJudgeStep =
  (deps: ActivityDeps): TaskActivities['judgeStep'] =>
  (ref) =>
    runActivity(deps, () => judgeStep(deps, ref));
