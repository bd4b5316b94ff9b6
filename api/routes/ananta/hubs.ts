import { problem } from '../../../contracts/errors.ts';
import {
  anantaDelegateRoutes,
  anantaListAgentsRoutes,
  anantaRegisterRoutes,
  anantaSubtaskCallbackRoutes,
} from '../../../contracts/families/ananta/hubs.ts';
import type { Principal } from '../../../contracts/principal.ts';
import { SECRET_MASK } from '../../../contracts/settings.ts';
import { requestKeyOf } from '../../../domain/idempotency.ts';
import type { IdentityDeps } from '../../../domain/identity/deps.ts';
import { identify } from '../../../domain/identity/identify.ts';
import { isTokenOf } from '../../../domain/identity/opaque-tokens.ts';
import type { InstallerPort } from '../../../domain/installer/port.ts';
import {
  DELEGATION_TIMEOUT_MS,
  delegateTask,
  findDelegationAnswer,
} from '../../../domain/url-agents/delegate.ts';
import type { UrlAgentDeps } from '../../../domain/url-agents/deps.ts';
import { listFamilyAgents } from '../../../domain/url-agents/list.ts';
import { type Registrar, registerUrlAgent } from '../../../domain/url-agents/register.ts';
import { reportPart } from '../../../domain/url-agents/report.ts';
import { resolveOrRegister } from '../../../domain/url-agents/resolve.ts';
import type { Hub } from '../../events/hub.ts';
import { waitFor } from '../../events/wait.ts';
import type { MountedRoute } from '../../mount.ts';
import { mountAll } from '../mount-all.ts';
import { success } from './envelope.ts';

/** How much longer than the other side may take an answer is waited for, milliseconds: the way to the worker and back. */
const GRACE_MS = 15_000;

export type AnantaHubDeps = UrlAgentDeps &
  IdentityDeps & { hub: Hub; installer: Pick<InstallerPort, 'serverUrl'> };

/** `/register`, `/agents`, and the two ends of a task that is handed to another installation. */
export function anantaHubRoutes(deps: AnantaHubDeps): MountedRoute[] {
  return [
    ...mountAll(anantaRegisterRoutes, async (request) => {
      const { name, url, role, token, registration_token: shown } = request.body;
      const registrar = await registrarOf(deps, request, shown || undefined);
      const wish = { name, url, role, token: token || undefined };
      const { agentId, agentToken } = await registerUrlAgent(deps, registrar, wish);
      const data = {
        status: 'registered' as const,
        agent_id: agentId,
        ...(agentToken !== null && { agent_token: agentToken }),
      };
      return { status: 200, body: success(data) };
    }),
    ...mountAll(anantaListAgentsRoutes, async (request) => {
      const agents = await listFamilyAgents(deps, request);
      const data = agents.map(({ agent, url, role, hasToken }) => ({
        url: url ?? agent.id,
        name: agent.hostname,
        role,
        token: hasToken ? SECRET_MASK : null,
        last_seen: agent.lastSeenAt === null ? null : agent.lastSeenAt.getTime() / 1000,
        status: agent.status === 'offline' ? ('offline' as const) : ('online' as const),
        agent_id: agent.id,
      }));
      return { status: 200, body: success(data) };
    }),
    ...mountAll(anantaDelegateRoutes, async (request) => {
      const { taskId } = request.params;
      const {
        agent_url: ref,
        agent_token: agentToken,
        subtask_description: description,
        priority,
      } = request.body;
      const key = requestKeyOf(request, { taskId, delegate: request.body });
      const agentId = await resolveOrRegister(deps, request, ref);
      const wish = {
        agentId,
        agentToken: agentToken || undefined,
        description,
        priority,
        publicUrl: deps.installer.serverUrl(),
      };
      const part = await delegateTask(deps, request, taskId, wish, key);
      const answer = await waitFor(deps.hub, {
        concerns: ({ row }) => row.taskPublicId === part.publicId,
        read: () => findDelegationAnswer(deps, part),
        timeoutMs: DELEGATION_TIMEOUT_MS + GRACE_MS,
        signal: request.signal,
      });
      if (answer === undefined) {
        const details = { details: 'no answer yet; it goes on', subtask_id: part.publicId };
        throw problem('delegation_failed', {}, { details });
      }
      const data = { status: 'delegated' as const, subtask_id: part.publicId, agent_url: ref, ...answer };
      return { status: 200, body: success(data) };
    }),
    ...mountAll(anantaSubtaskCallbackRoutes, async (request) => {
      const {
        id,
        status,
        last_output: lastOutput = null,
        last_exit_code: lastExitCode = null,
      } = request.body;
      await reportPart(deps, request, request.params.taskId, { id, status, lastOutput, lastExitCode });
      return { status: 200, body: success({ status: 'updated' as const }) };
    }),
  ];
}

/** The token in the body goes before the one in the header. @throws enrolment_token_invalid */
async function registrarOf(
  deps: AnantaHubDeps,
  request: { principal: Principal | null; address: string | null; requestId: string | null },
  shown: string | undefined,
): Promise<Registrar> {
  const { principal, address, requestId } = request;
  if (shown === undefined) {
    if (principal === null) throw problem('enrolment_token_invalid');
    return { actor: { principal, address, requestId } };
  }
  if (isTokenOf('enrolment', shown)) return { enrolmentToken: shown, origin: { address, requestId } };
  const known = await identify(deps, shown).catch(() => undefined);
  if (known === undefined) throw problem('enrolment_token_invalid');
  return { actor: { principal: known, address, requestId } };
}
