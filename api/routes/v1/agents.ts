import {
  agentMetricsRoute,
  createEnrolmentRoute,
  drainAgentRoute,
  enrolAgentRoute,
  getAgentRoute,
  listAgentsRoute,
  listEnrolmentsRoute,
  refreshAgentRoute,
  resumeAgentRoute,
  revokeAgentRoute,
  revokeEnrolmentRoute,
  rotateAgentTokenRoute,
  updateAgentRoute,
} from '../../../contracts/agent-routes.ts';
import { noStore } from '../../../contracts/auth.ts';
import {
  createEnrolment,
  enrolAgent,
  listEnrolments,
  presentEnrolment,
  revokeEnrolment,
} from '../../../domain/agents/enrol.ts';
import { readMetricsHistory } from '../../../domain/agents/metrics.ts';
import { refreshAgent } from '../../../domain/agents/refresh.ts';
import {
  changeAgent,
  drainAgent,
  getAgent,
  listAgentPage,
  presentAgent,
  revokeAgent,
} from '../../../domain/agents/registry.ts';
import { rotateAgentToken } from '../../../domain/agents/tokens.ts';
import type { DomainDeps } from '../../../domain/deps.ts';
import { requestKeyOf } from '../../../domain/idempotency.ts';
import { type MountedRoute, mount } from '../../mount.ts';

/** `/v1/agents`: the registry. */
export function agentRoutes(deps: DomainDeps): MountedRoute[] {
  return [
    mount(listAgentsRoute, async (request) => {
      const { items, nextCursor } = await listAgentPage(deps, request, request.query);
      return { status: 200, body: { items: items.map(presentAgent), nextCursor } };
    }),
    mount(getAgentRoute, async (request) => {
      const agent = await getAgent(deps, request, request.params.agentId);
      return { status: 200, body: presentAgent(agent) };
    }),
    mount(updateAgentRoute, async (request) => {
      const agent = await changeAgent(deps, request, request.params.agentId, request.body);
      return { status: 200, body: presentAgent(agent) };
    }),
    mount(revokeAgentRoute, async (request) => {
      const agent = await revokeAgent(deps, request, request.params.agentId);
      return { status: 200, body: presentAgent(agent) };
    }),
    mount(rotateAgentTokenRoute, async (request) => {
      const { agentId } = request.params;
      const { overlapMs } = request.query;
      // A key given without an overlap stands for the same request as before there was one.
      const asked = overlapMs === 0 ? { agentId } : { agentId, overlapMs };
      const requestKey = requestKeyOf(request, asked);
      const agentToken = await rotateAgentToken(deps, request, agentId, requestKey, overlapMs);
      return { status: 200, headers: noStore, body: { agentId, agentToken } };
    }),
    mount(agentMetricsRoute, async (request) => {
      const { resolution } = request.query;
      return {
        status: 200,
        body: await readMetricsHistory(deps, request, request.params.agentId, resolution),
      };
    }),
    mount(refreshAgentRoute, async (request) => {
      const { agentId } = request.params;
      const { agent, isFresh } = await refreshAgent(deps, request, agentId, request.signal);
      return { status: 200, body: { isFresh, agent: presentAgent(agent) } };
    }),
    mount(drainAgentRoute, async (request) => {
      const agent = await drainAgent(deps, request, request.params.agentId, true);
      return { status: 200, body: presentAgent(agent) };
    }),
    mount(resumeAgentRoute, async (request) => {
      const agent = await drainAgent(deps, request, request.params.agentId, false);
      return { status: 200, body: presentAgent(agent) };
    }),
    ...enrolmentRoutes(deps),
  ];
}

function enrolmentRoutes(deps: DomainDeps): MountedRoute[] {
  return [
    mount(enrolAgentRoute, async (request) => {
      const enrolled = await enrolAgent(deps, request, request.body, requestKeyOf(request, request.body));
      return { status: 201, headers: noStore, body: enrolled };
    }),
    mount(createEnrolmentRoute, async (request) => {
      const made = await createEnrolment(deps, request, request.body, requestKeyOf(request, request.body));
      const { id, enrolmentToken, maxUses, expiresAt } = made;
      const body = { id, enrolmentToken, maxUses, expiresAt: expiresAt.toISOString() };
      return { status: 201, headers: noStore, body };
    }),
    mount(listEnrolmentsRoute, async (request) => {
      const { items, nextCursor } = await listEnrolments(deps, request, request.query);
      return { status: 200, body: { items: items.map(presentEnrolment), nextCursor } };
    }),
    mount(revokeEnrolmentRoute, async (request) => {
      await revokeEnrolment(deps, request, request.params.enrolmentId);
      return { status: 204 };
    }),
  ];
}
