import type { RolloutActivities } from '../contracts/rollout-workflow.ts';
import type { ScheduleActivities } from '../contracts/schedule-io.ts';
import type { WebhookActivities } from '../contracts/webhook-workflow.ts';
import type { TaskActivities, UrlAgentActivities } from '../contracts/workflow-io.ts';
import type { UrlAgentDeps } from '../domain/url-agents/deps.ts';
import type { WebhookDeps } from '../domain/webhooks/deps.ts';
import { createAdvanceRollout } from './advance-rollout.ts';
import { createBeginScheduledRun } from './begin-scheduled-run.ts';
import { createCancelRollout } from './cancel-rollout.ts';
import { createDeliverWebhooks } from './deliver-webhooks.ts';
import { createEndTask } from './end-task.ts';
import { createExpireApproval } from './expire-approval.ts';
import { createJudgeStep } from './judge-step.ts';
import { createPropose } from './propose.ts';
import { createReadBatch } from './read-batch.ts';
import type { ActivityDeps } from './run-activity.ts';
import { createRunOnUrlAgent } from './run-on-url-agent.ts';
import { createSendDelegation } from './send-delegation.ts';

export type { ActivityDeps } from './run-activity.ts';

/** Everything that workflows ask for. */
export type WorkerActivities = TaskActivities &
  RolloutActivities &
  WebhookActivities &
  ScheduleActivities &
  UrlAgentActivities;

/** The effects of workflows, one file each. */
export function createActivities(deps: ActivityDeps & WebhookDeps & UrlAgentDeps): WorkerActivities {
  return {
    propose: createPropose(deps),
    expireApproval: createExpireApproval(deps),
    readBatch: createReadBatch(deps),
    endTask: createEndTask(deps),
    deliverWebhooks: createDeliverWebhooks(deps),
    advanceRollout: createAdvanceRollout(deps),
    cancelRollout: createCancelRollout(deps),
    judgeStep: createJudgeStep(deps),
    runOnUrlAgent: createRunOnUrlAgent(deps),
    sendDelegation: createSendDelegation(deps),
    beginScheduledRun: createBeginScheduledRun(deps),
  };
}
