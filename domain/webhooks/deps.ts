import type { Outbound } from '../../outbound/port.ts';
import type { DomainDeps } from '../deps.ts';
import type { SecretBox } from '../secret-box.ts';

/** What webhooks need beside the rest: they keep secrets, and ask URLs that people have named. */
export type WebhookDeps = DomainDeps & {
  secrets: SecretBox;
  /** Guarded by WEBHOOK_URL_ALLOW. */
  webhookUrls: Outbound;
};

/** Names of what is sealed for a webhook. */
export const webhookSecretName = (webhookId: string): string => `webhook/${webhookId}/secret`;
export const webhookBearerName = (webhookId: string): string => `webhook/${webhookId}/bearer_token`;
