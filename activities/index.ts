import type { TaskActivities } from '../contracts/workflow-io.ts';
import { createEndTask } from './end-task.ts';
import { createExpireApproval } from './expire-approval.ts';
import { createPropose } from './propose.ts';
import { createReadBatch } from './read-batch.ts';
import type { ActivityDeps } from './run-activity.ts';

export type { ActivityDeps } from './run-activity.ts';

/** The effects of the task workflow, one file each. */
export function createActivities(deps: ActivityDeps): TaskActivities {
  return {
    propose: createPropose(deps),
    expireApproval: createExpireApproval(deps),
    readBatch: createReadBatch(deps),
    endTask: createEndTask(deps),
  };
}
