/** `/ws/terminal`: who asks, what for, and the session that becomes of it. */
import type { WebSocket } from 'ws';
import { isProblem, problem } from '../../contracts/errors.ts';
import {
  MAX_TERMINAL_FRAME_BYTES,
  type TerminalQuery,
  terminalCloseCodes,
  terminalQuerySchema,
} from '../../contracts/terminals.ts';
import type { Actor, DomainDeps } from '../../domain/deps.ts';
import { can } from '../../domain/policy.ts';
import type { TerminalLimits } from '../../domain/terminal/limits.ts';
import { wireTerminalId } from '../../domain/terminal/log.ts';
import type { TerminalSessionRow } from '../../domain/terminal/sessions.ts';
import { openTerminal, reattachTerminal } from '../../domain/terminal/sessions.ts';
import type { Hub } from '../events/hub.ts';
import { parameterLists } from '../parse-request.ts';
import type { Upgrade, UpgradeRoute } from '../upgrade.ts';
import { acceptUserSocket, identifyUpgrade, type UserSocketDeps } from '../user-sockets.ts';
import { createTerminalClient, type TerminalClient } from './client.ts';
import { createLogReader } from './log-reader.ts';
import type { Relays } from './relays.ts';

/** An agent has this long to make a terminal or to give one back, milliseconds. */
const OPEN_DEADLINE_MS = 15_000;

export interface TerminalUpgradeDeps extends UserSocketDeps {
  domain: DomainDeps;
  hub: Pick<Hub, 'subscribe'>;
  relays: Relays;
  /** As configured now. */
  limits(): TerminalLimits;
  /** Agent of the API's own host, or null where its terminal is off. */
  hostAgentId: string | null;
  shutdown: AbortSignal;
}

const interactiveRight = { verb: 'create', resource: 'terminal' } as const;
const readRight = { verb: 'list', resource: 'terminal' } as const;

export function terminalUpgradeRoute(deps: TerminalUpgradeDeps): UpgradeRoute {
  return {
    path: '/ws/terminal',
    maxFrameBytes: MAX_TERMINAL_FRAME_BYTES,
    async handle(upgrade) {
      const parsed = terminalQuerySchema.safeParse(parameterLists(upgrade.query));
      const principal = await identifyUpgrade(deps, upgrade);
      if (principal === null) return refuse(upgrade, 'unauthorized');
      const right = parsed.data?.mode === 'read' ? readRight : interactiveRight;
      if (!can(principal, right.verb, right.resource)) return refuse(upgrade, 'forbidden');
      if (!parsed.success) return refuse(upgrade, 'validation_failed');
      const query = parsed.data;
      const actor = { principal, address: upgrade.address, requestId: upgrade.requestId };
      try {
        if (query.mode === 'read') {
          await acceptUserSocket(deps, upgrade, { principal, right }, (ws, viewer) =>
            createLogReader(deps, ws, viewer),
          );
          return;
        }
        await serveInteractive(deps, upgrade, actor, query);
      } catch (error) {
        if (!isProblem(error, 'rate_limited')) throw error;
        await refuse(upgrade, 'rate_limited');
      }
    },
  };
}

async function serveInteractive(
  deps: TerminalUpgradeDeps,
  upgrade: Upgrade,
  actor: Actor,
  query: TerminalQuery,
): Promise<void> {
  const facts = { session_id: '', agent_id: '', resumed: query.session_id !== undefined };
  const { socket: client } = await acceptUserSocket(
    deps,
    upgrade,
    { principal: actor.principal, right: interactiveRight },
    (ws: WebSocket) =>
      createTerminalClient(ws, {
        shutdown: deps.shutdown,
        isBinary: query.binary === '1',
        transport: upgrade.request.socket,
        session: () => facts,
      }),
  );
  try {
    const begin = query.session_id === undefined ? openNew : comeBack;
    const session = await begin(deps, actor, query, client, (row) => {
      facts.session_id = wireTerminalId(row.id);
      facts.agent_id = row.agentId;
    });
    deps.domain.log.info({ event: 'terminal_attached', sessionId: session.id, agentId: session.agentId });
  } catch (error) {
    if (isProblem(error)) return client.fail(error.code, error.message);
    deps.domain.log.error({ event: 'terminal_failed', path: upgrade.safePath, err: error });
    client.fail('internal_error', 'internal error', terminalCloseCodes.internalError);
  }
}

type Begin = (
  deps: TerminalUpgradeDeps,
  actor: Actor,
  query: TerminalQuery,
  client: TerminalClient,
  onKnown: (session: TerminalSessionRow) => void,
) => Promise<TerminalSessionRow>;

/** @throws forbidden, agent_not_found, agent_revoked, agent_not_connected, terminal_unavailable, conflict */
const openNew: Begin = async (deps, actor, query, client, onKnown) => {
  const agentId = query.agent_id ?? deps.hostAgentId;
  if (agentId === null) {
    throw problem('terminal_unavailable', { reason: 'the terminal of this host is off; name an agent' });
  }
  const limits = deps.limits();
  const { cols, rows, forward_param: forwardParam = null } = query;
  const { relays } = deps;
  const isHere = relays.hasAgent(agentId);
  const wish = { agentId, isHere, cols, rows, forwardParam };
  const session = await openTerminal(deps.domain, actor, wish, limits);
  onKnown(session);
  const relay = await relays.open(session, client, limits);
  if (relay === null) throw problem('agent_not_connected', { agentId });
  client.begin(relay, OPEN_DEADLINE_MS);
  return session;
};

/** @throws forbidden, terminal_not_found, agent_not_connected */
const comeBack: Begin = async (deps, actor, query, client, onKnown) => {
  const id = (query.session_id ?? '').replace(/^ws-/, '');
  const session = await reattachTerminal(deps.domain, actor, id);
  onKnown(session);
  const relay = deps.relays.find(id);
  if (relay === undefined) throw problem('agent_not_connected', { agentId: session.agentId });
  relay.client()?.leave(terminalCloseCodes.takenOver, 'another client came back to the session');
  relay.take(client, query.offset ?? null);
  client.begin(relay, OPEN_DEADLINE_MS);
  return session;
};

/** As clients of the contract know it: let in, told, closed. */
async function refuse(upgrade: Upgrade, message: string): Promise<void> {
  upgrade.noteRefused(message);
  const ws = await upgrade.accept();
  ws.send(JSON.stringify({ type: 'error', data: { message } }));
  ws.close(terminalCloseCodes.policy, message);
  const timer = setTimeout(() => ws.terminate(), 2_000);
  ws.once('close', () => clearTimeout(timer));
}
