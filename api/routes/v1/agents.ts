import {
  createEnrolmentRoute,
  enrolAgentRoute,
  getAgentRoute,
  listAgentsRoute,
  listEnrolmentsRoute,
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
import {
  getAgent,
  listAgentPage,
  presentAgent,
  revokeAgent,
  tagAgent,
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
      const agent = await tagAgent(deps, request, request.params.agentId, request.body.tags);
      return { status: 200, body: presentAgent(agent) };
    }),
    mount(revokeAgentRoute, async (request) => {
      const agent = await revokeAgent(deps, request, request.params.agentId);
      return { status: 200, body: presentAgent(agent) };
    }),
    mount(rotateAgentTokenRoute, async (request) => {
      const { agentId } = request.params;
      const agentToken = await rotateAgentToken(deps, request, agentId, requestKeyOf(request, { agentId }));
      return { status: 200, headers: noStore, body: { agentId, agentToken } };
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
