import type { WebhookActivities } from '../contracts/webhook-workflow.ts';
import { drainTarget } from '../domain/webhooks/deliver.ts';
import type { WebhookDeps } from '../domain/webhooks/deps.ts';
import { runActivity } from './run-activity.ts';

/** Make what is due for one webhook or callback, for some seconds at most. */
export const createDeliverWebhooks =
  (deps: WebhookDeps): WebhookActivities['deliverWebhooks'] =>
  (target) =>
    runActivity(deps, (signal) => drainTarget(deps, target, signal));
