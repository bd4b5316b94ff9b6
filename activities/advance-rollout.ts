import type { RolloutActivities } from '../contracts/rollout-workflow.ts';
import { advanceRollout } from '../domain/rollouts/advance.ts';
import { type ActivityDeps, runActivity } from './run-activity.ts';

/** Take note of what has come in, begin the next batch where nothing stands before it, say what is waited for. */
export const createAdvanceRollout =
  (deps: ActivityDeps): RolloutActivities['advanceRollout'] =>
  ({ rolloutId }) =>
    runActivity(deps, () => advanceRollout(deps, rolloutId));
