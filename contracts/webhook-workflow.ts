/** What crosses the border between the workflow of webhook deliveries and the rest: ids and short facts only. */

export interface WebhookWorkflowInput {
  /** Id of the webhook, or row uuid of the task whose callback it is. */
  targetId: string;
  /** Number of this workflow of the target, from 1. */
  runNo: number;
}

/** What a round of deliveries left. */
export type DrainOutcome =
  /** Nothing is pending, or another workflow has taken over: the end. */
  | { kind: 'over' }
  /** More is due already. */
  | { kind: 'more' }
  /** The next attempt is due in so many milliseconds; new deliveries ring before. */
  | { kind: 'sleep'; ms: number };

export interface WebhookActivities {
  /** Make what is due, for some seconds at most. */
  deliverWebhooks(target: WebhookWorkflowInput): Promise<DrainOutcome>;
}

/** Deliveries were added while it slept. */
export type WebhookDueSignal = Record<string, never>;

export const webhookWorkflowId = (targetId: string, runNo: number): string => `webhook/${targetId}/${runNo}`;
