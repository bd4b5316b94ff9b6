import { problem } from '../../../contracts/errors.ts';
import {
  dexAgentStatusRoute,
  dexConnectedAgentsRoute,
  dexDeleteAgentRoute,
  dexGetAgentRoute,
  dexHeartbeatRoute,
  dexListAgentsRoute,
  dexOfflineAgentsRoute,
  dexRefreshAgentRoute,
  dexRegisterAgentRoute,
  dexSeedAgentsRoute,
  dexUpdateAgentRoute,
  MAX_DEX_AGENTS,
} from '../../../contracts/families/dex/agents.ts';
import { heartbeat } from '../../../domain/agents/heartbeat.ts';
import type { PresencePort } from '../../../domain/agents/presence.ts';
import { refreshAgent } from '../../../domain/agents/refresh.ts';
import { registerAgent } from '../../../domain/agents/register.ts';
import {
  type AgentSelection,
  changeAgent,
  getUsableAgent,
  listUsableAgents,
  revokeAgent,
} from '../../../domain/agents/registry.ts';
import { seedDemoAgents } from '../../../domain/agents/seed.ts';
import type { Actor, DomainDeps } from '../../../domain/deps.ts';
import { requestKeyOf } from '../../../domain/idempotency.ts';
import { type MountedRoute, mount } from '../../mount.ts';
import { presentDexAgent, presentDexStatus } from './present-agent.ts';

export interface DexAgentDeps extends DomainDeps {
  presence: PresencePort;
  isProduction: boolean;
}

/** `/api/v1/agents` as dex clients know it; agents that were revoked are deleted to them. */
export function dexAgentRoutes(deps: DexAgentDeps): MountedRoute[] {
  const list = async (actor: Actor, selection: AgentSelection) => {
    const agents = await listUsableAgents(deps, actor, selection, MAX_DEX_AGENTS);
    return { status: 200, body: agents.map(presentDexAgent) } as const;
  };
  return [
    mount(dexListAgentsRoute, (request) => list(request, {})),
    mount(dexConnectedAgentsRoute, (request) => list(request, { isConnected: true })),
    mount(dexOfflineAgentsRoute, (request) => list(request, { isAlive: false })),
    mount(dexGetAgentRoute, async (request) => {
      const agent = await getUsableAgent(deps, request, request.params.agentId);
      return { status: 200, body: presentDexAgent(agent) };
    }),
    mount(dexAgentStatusRoute, async (request) => {
      const agent = await getUsableAgent(deps, request, request.params.agentId);
      return { status: 200, body: presentDexStatus(agent) };
    }),
    ...changingRoutes(deps),
    ...agentsOwnRoutes(deps),
  ];
}

function changingRoutes(deps: DexAgentDeps): MountedRoute[] {
  return [
    mount(dexUpdateAgentRoute, async (request) => {
      const { ip, system_info: systemInfo, hostname, os, version, tags } = request.body;
      const { agentId } = request.params;
      await getUsableAgent(deps, request, agentId);
      const agent = await changeAgent(deps, request, agentId, {
        hostname: hostname ?? undefined,
        os: os ?? undefined,
        version: version ?? undefined,
        address: ip ?? undefined,
        tags: tags ?? undefined,
        systemInfo: systemInfo ?? undefined,
      });
      return { status: 200, body: presentDexAgent(agent) };
    }),
    mount(dexDeleteAgentRoute, async (request) => {
      const { agentId } = request.params;
      await getUsableAgent(deps, request, agentId);
      await revokeAgent(deps, request, agentId);
      return { status: 200, body: { message: 'Agent deleted successfully' } };
    }),
    mount(dexRefreshAgentRoute, async (request) => {
      const { agentId } = request.params;
      await getUsableAgent(deps, request, agentId);
      const { agent, isFresh } = await refreshAgent(deps, request, agentId, request.signal);
      const message = isFresh
        ? 'Agent refreshed successfully'
        : 'The agent did not answer: it is shown as it was last known';
      return { status: 200, body: { message, agent: presentDexAgent(agent) } };
    }),
    mount(dexSeedAgentsRoute, async (request) => {
      if (deps.isProduction) throw problem('not_found');
      const agents = await seedDemoAgents(deps, request);
      return { status: 200, body: agents.map(presentDexAgent) };
    }),
  ];
}

/** What agents themselves call. */
function agentsOwnRoutes(deps: DexAgentDeps): MountedRoute[] {
  return [
    mount(dexRegisterAgentRoute, async (request) => {
      const { id, ip, system_info: systemInfo, hostname, os, version, tags } = request.body;
      const { agent } = await registerAgent(
        deps,
        request,
        {
          agentId: id ?? undefined,
          hostname,
          os: os ?? undefined,
          version: version ?? undefined,
          address: ip ?? undefined,
          tags: tags ?? undefined,
          systemInfo: systemInfo ?? undefined,
        },
        requestKeyOf(request, request.body),
      );
      return { status: 200, body: presentDexAgent(agent) };
    }),
    mount(dexHeartbeatRoute, async (request) => {
      const systemInfo = request.body?.system_info ?? request.body?.system_metrics ?? null;
      const agent = await heartbeat(deps, request, request.params.agentId, systemInfo);
      const body = {
        message: 'Heartbeat received',
        agent: presentDexAgent(agent),
        timestamp: new Date().toISOString(),
      };
      return { status: 200, body };
    }),
  ];
}
