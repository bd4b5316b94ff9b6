import {
  createGroupRoute,
  deleteGroupRoute,
  getGroupRoute,
  listGroupAgentsRoute,
  listGroupsRoute,
  updateGroupRoute,
} from '../../../contracts/agent-groups.ts';
import {
  changeGroup,
  createGroup,
  forgetGroup,
  getGroup,
  listGroupAgents,
  listGroupPage,
  presentGroup,
} from '../../../domain/agents/groups.ts';
import { presentAgent } from '../../../domain/agents/registry.ts';
import type { DomainDeps } from '../../../domain/deps.ts';
import { requestKeyOf } from '../../../domain/idempotency.ts';
import { type MountedRoute, mount } from '../../mount.ts';

/** `/v1/agent-groups`: groups of agents by tag expressions. */
export function agentGroupRoutes(deps: DomainDeps): MountedRoute[] {
  return [
    mount(createGroupRoute, async (request) => {
      const requestKey = requestKeyOf(request, request.body);
      const group = await createGroup(deps, request, request.body, requestKey);
      return { status: 201, body: presentGroup(group) };
    }),
    mount(listGroupsRoute, async (request) => {
      const { items, nextCursor } = await listGroupPage(deps, request, request.query);
      return { status: 200, body: { items: items.map(presentGroup), nextCursor } };
    }),
    mount(getGroupRoute, async (request) => {
      const group = await getGroup(deps, request, request.params.groupId);
      return { status: 200, body: presentGroup(group) };
    }),
    mount(updateGroupRoute, async (request) => {
      const group = await changeGroup(deps, request, request.params.groupId, request.body);
      return { status: 200, body: presentGroup(group) };
    }),
    mount(deleteGroupRoute, async (request) => {
      await forgetGroup(deps, request, request.params.groupId);
      return { status: 204 };
    }),
    mount(listGroupAgentsRoute, async (request) => {
      const page = await listGroupAgents(deps, request, request.params.groupId, request.query);
      return { status: 200, body: { items: page.items.map(presentAgent), nextCursor: page.nextCursor } };
    }),
  ];
}
