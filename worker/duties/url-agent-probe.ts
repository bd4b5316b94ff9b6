import { lockKeys } from '../../db/lock-keys.ts';
import type { UrlAgentDeps } from '../../domain/url-agents/deps.ts';
import { probeSilent } from '../../domain/url-agents/probe.ts';
import { defineDuty } from './duty.ts';

/** Look for agents with an address that have said nothing for a while: only who is not found goes offline. */
export const urlAgentProbe = defineDuty<UrlAgentDeps>({
  name: 'url_agent_probe',
  lockKey: lockKeys.duties.urlAgentProbe,
  everyMs: 30_000,
  run: probeSilent,
});
