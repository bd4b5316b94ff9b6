import type { Outbound } from '../../outbound/port.ts';
import type { DomainDeps } from '../deps.ts';
import type { SecretBox } from '../secret-box.ts';

/** What is needed to ask agents at addresses that people have named. */
export type UrlAgentDeps = DomainDeps & {
  secrets: SecretBox;
  /** Guarded by AGENT_URL_ALLOW. */
  agentUrls: Outbound;
};

/** Name of the sealed token that an agent wants to be asked with. */
export const urlTokenName = (agentId: string): string => `agent/${agentId}/url_token`;
/** Name of the sealed token that reports on a task come with, until the other side has it. */
export const delegationTokenName = (taskId: string): string => `delegation/${taskId}/callback_token`;

/** The address as it is kept and compared: without a query, a fragment and slashes at its end. */
export function normalUrl(text: string): string {
  if (!URL.canParse(text)) return text.replace(/\/+$/, '');
  const url = new URL(text);
  url.search = '';
  url.hash = '';
  return url.href.replace(/\/+$/, '');
}
