import type { RolloutActivities } from '../contracts/rollout-workflow.ts';
import { cancelRolloutInEngine } from '../domain/rollouts/control.ts';
import { type ActivityDeps, runActivity } from './run-activity.ts';

/** The workflow was canceled in Temporal: so is the rollout. */
export const createCancelRollout =
  (deps: ActivityDeps): RolloutActivities['cancelRollout'] =>
  (input) =>
    runActivity(deps, () => cancelRolloutInEngine(deps, input));
