/** The guarded ways out, made once for each list of the configuration. */
import type { ServiceConfig } from '../config.ts';
import { createOutbound } from '../outbound/outbound.ts';
import type { Outbound } from '../outbound/port.ts';

export interface Outbounds {
  /** To webhooks and callbacks: public addresses, and what WEBHOOK_URL_ALLOW lists. */
  webhooks: Outbound;
  /** To agents that are addressed by URL: only what AGENT_URL_ALLOW lists. */
  agents: Outbound;
}

/** @throws Error naming the variable whose list cannot be read */
export const createOutbounds = (
  config: Pick<ServiceConfig, 'webhookUrlAllow' | 'agentUrlAllow'>,
): Outbounds => ({
  webhooks: createOutbound({
    allow: config.webhookUrlAllow,
    allowsPublic: true,
    listName: 'WEBHOOK_URL_ALLOW',
  }),
  agents: createOutbound({ allow: config.agentUrlAllow, allowsPublic: false, listName: 'AGENT_URL_ALLOW' }),
});
