import { condition, continueAsNew, defineSignal, proxyActivities, setHandler } from '@temporalio/workflow';
import type { WebhookActivities, WebhookWorkflowInput } from '../contracts/webhook-workflow.ts';
import { signalNames } from '../contracts/workflow-io.ts';

/** A round is some seconds of attempts and the last one's timeout. */
const ROUND_TIMEOUT_MS = 60_000;
/** A worker that is silent for this long has died: another one goes on. */
const HEARTBEAT_TIMEOUT_MS = 10_000;
/** After so many rounds it goes on as a new run; a round adds about ten events to the history. */
const MAX_ROUNDS = 100;

export const webhookDueSignal = defineSignal(signalNames.webhookDue);

const { deliverWebhooks } = proxyActivities<WebhookActivities>({
  startToCloseTimeout: ROUND_TIMEOUT_MS,
  heartbeatTimeout: HEARTBEAT_TIMEOUT_MS,
  retry: { initialInterval: '1s', backoffCoefficient: 2, maximumInterval: '60s' },
});

/**
 * Deliver to one webhook or callback until nothing is pending: a round of attempts, then sleep until the next is due
 * or new deliveries ring. The rows decide what is due and when it is over; this only keeps time.
 */
export async function webhookDelivery(input: WebhookWorkflowInput): Promise<void> {
  let isRung = false;
  setHandler(webhookDueSignal, () => {
    isRung = true;
  });
  for (let round = 0; round < MAX_ROUNDS; round++) {
    isRung = false;
    const outcome = await deliverWebhooks(input);
    if (outcome.kind === 'over') return;
    if (outcome.kind === 'sleep') await condition(() => isRung, outcome.ms);
  }
  // A bell that is lost here is made up for by the first round of the next run.
  await continueAsNew<typeof webhookDelivery>(input);
}
