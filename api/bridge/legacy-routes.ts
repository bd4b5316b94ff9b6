/**
 * Where agents of the dialects connect: with their id in the path or with a register frame. A connection has three
 * parts: who it is (here), how it speaks (dialects/), and then it is a socket of the bridge (legacy-socket.ts).
 *
 *  K. A credential decides who the agent is: its own token, or the shared agent token with the id it claims. Until it
 *     is known, a peer may say little, and few may be unknown at a time.
 */
import type { WebSocket } from 'ws';
import { closeCodes } from '../../contracts/agent-protocol.ts';
import { isProblem } from '../../contracts/errors.ts';
import type { Principal } from '../../contracts/principal.ts';
import { isOfAnotherAgent } from '../../domain/agents/claimed-id.ts';
import { registerAgent } from '../../domain/agents/register.ts';
import { expectAnswers, findEvidence } from '../../domain/commands/journal-less.ts';
import type { DomainDeps, Log } from '../../domain/deps.ts';
import type { Authenticate } from '../context.ts';
import type { SessionWatch } from '../events/session-watch.ts';
import type { Upgrade, UpgradeRoute } from '../upgrade.ts';
import type { AgentSocketHandlers } from './agent-socket.ts';
import type { Bridge } from './bridge.ts';
import { type Endpoint, helloOf, isUsableId, type Registration } from './dialects/registration.ts';
import { welcomeText } from './legacy-frames.ts';
import { type Greeting, greet, sendAway } from './legacy-greeting.ts';
import { createLegacySocket, type LegacyLedger } from './legacy-socket.ts';

/** What the server these agents were written for takes as one frame; an answer with all its output is one. */
const MAX_LEGACY_FRAME_BYTES = 16 * 1024 * 1024;
/** Peers that have shown no credential yet; more are told to come again. */
const MAX_UNKNOWN_PEERS = 1_000;

export interface LegacyRouteDeps {
  bridge: Pick<Bridge, 'attach' | 'hasRoomFor'>;
  domain: DomainDeps;
  authenticate: Authenticate;
  sessions: Pick<SessionWatch, 'watch'>;
  /** The server stops. */
  shutdown: AbortSignal;
  log: Log;
}

/** Asked again when the hello is stored, and by whoever watches. */
type Identify = () => Promise<Principal | null>;

export function legacyUpgradeRoutes(deps: LegacyRouteDeps): UpgradeRoute[] {
  const { bridge, domain, log } = deps;
  const ledger: LegacyLedger = {
    expectAnswers: (commandIds) => expectAnswers(domain, commandIds),
    findEvidence: (agentId, commandId) => findEvidence(domain, agentId, commandId),
  };
  let unknownPeers = 0;
  /** Sockets that are no business of the bridge yet. */
  const greeting = new Set<WebSocket>();
  deps.shutdown.addEventListener('abort', () => {
    for (const ws of greeting) sendAway(ws, closeCodes.goingAway, 'the server is shutting down');
  });

  const route = (path: `/${string}`, endpoint: Endpoint): UpgradeRoute => ({
    path,
    maxFrameBytes: MAX_LEGACY_FRAME_BYTES,
    handle: (upgrade) => handle(upgrade, endpoint),
  });

  const handle = async (upgrade: Upgrade, endpoint: Endpoint): Promise<void> => {
    const pathId = endpoint === 'id' ? upgrade.params.agent_id : undefined;
    const identify: Identify = () => deps.authenticate({ ...upgrade, headers: upgrade.request.headers });
    const principal = await unlessRefused(identify);
    if (principal === 'refused' || (principal !== null && !mayBeAgent(principal)))
      return upgrade.refuse('an agent credential is needed');
    if (pathId !== undefined && !isUsableId(pathId))
      return upgrade.refuse('this cannot be the id of an agent');
    if (principal !== null) {
      if (await isOfAnother(principal, pathId)) return upgrade.refuse('the credential is of another agent');
      if (principal.kind === 'agent' && !bridge.hasRoomFor(principal.id))
        return upgrade.refuse('too many sockets of this agent; try again', closeCodes.goingAway);
    } else if (unknownPeers >= MAX_UNKNOWN_PEERS) {
      return upgrade.refuse('too many agents are connecting; try again', closeCodes.goingAway);
    }
    const ws = await upgrade.accept();
    unknownPeers += principal === null ? 1 : 0;
    greeting.add(ws);
    try {
      if (principal !== null && pathId !== undefined)
        ws.send(welcomeText(principal.kind === 'agent' ? principal.id : pathId, upgrade.requestId));
      const greeted = await greet(ws, upgrade, endpoint, principal !== null);
      if (greeted !== undefined) await connect(ws, upgrade, greeted, pathId, principal, identify);
    } catch (error) {
      log.error({ event: 'legacy_agent_failed', address: upgrade.address, err: error });
      sendAway(ws, closeCodes.goingAway, 'could not connect the agent; try again');
    } finally {
      greeting.delete(ws);
      unknownPeers -= principal === null ? 1 : 0;
    }
  };

  /** From the register frame to a socket of the bridge. */
  const connect = async (
    ws: WebSocket,
    upgrade: Upgrade,
    { registration, early, stopCollecting }: Greeting,
    pathId: string | undefined,
    known: Principal | null,
    identifyByRequest: Identify,
  ): Promise<void> => {
    const refuse = (reason: string, code: number = closeCodes.policy): void => {
      if (code === closeCodes.policy) upgrade.noteRefused(reason);
      stopCollecting();
      sendAway(ws, code, reason);
    };
    const { token } = registration;
    const identify: Identify =
      known !== null || token === undefined
        ? identifyByRequest
        : () =>
            deps.authenticate({
              ...upgrade,
              query: new URLSearchParams(),
              headers: { 'x-api-key': token },
            });
    const principal = known ?? (await unlessRefused(identify));
    if (principal === null || principal === 'refused' || !mayBeAgent(principal))
      return refuse('an agent credential is needed');
    const claimedId = pathId ?? registration.claimedId;
    if (claimedId !== undefined && !isUsableId(claimedId)) return refuse('this cannot be the id of an agent');
    if (await isOfAnother(principal, claimedId)) return refuse('the credential is of another agent');
    const agentId = await agentIdOf(principal, claimedId, registration, upgrade);
    if (typeof agentId !== 'string') return refuse(agentId.refused);
    if (ws.readyState !== ws.OPEN) return;

    const hostname = principal.kind === 'agent' ? principal.name : agentId;
    const hello = helloOf(agentId, hostname, registration);
    let stopWatching = (): void => {};
    const socket = bridge.attach(
      agentId,
      (handlers) => {
        const { onClose } = handlers;
        const watched: AgentSocketHandlers = {
          ...handlers,
          onClose(ended, session) {
            stopWatching();
            onClose(ended, session);
          },
        };
        const identity = { agentId, address: upgrade.address, hello, registration };
        return createLegacySocket(ws, identity, watched, ledger);
      },
      {
        tokenId: principal.kind === 'agent' ? principal.credentialId : undefined,
        async isGood() {
          const now = await unlessRefused(identify);
          return now !== null && now !== 'refused' && now.kind === principal.kind && now.id === principal.id;
        },
      },
    );
    if (socket === undefined)
      return refuse('too many sockets of this agent; try again', closeCodes.goingAway);
    // Agents' own tokens are the bridge's business; the shared one is nobody's else.
    if (principal.kind === 'system') {
      const viewer = deps.sessions.watch(principal, () =>
        socket.close(closeCodes.revoked, 'the credential of this agent is gone'),
      );
      stopWatching = () => viewer.stop();
    }
    log.info({
      event: 'legacy_agent_registered',
      agentId,
      dialect: registration.dialect.name,
      bootstrap: principal.kind === 'system',
      ...(claimedId !== undefined && claimedId !== agentId ? { claimedId } : {}),
    });
    stopCollecting();
    socket.begin(early);
  };

  const agentIdOf = async (
    principal: Principal,
    claimedId: string | undefined,
    said: Registration,
    upgrade: Upgrade,
  ): Promise<string | { refused: string }> => {
    if (principal.kind === 'agent') return principal.id;
    const { address, requestId } = upgrade;
    try {
      const { agent } = await registerAgent(
        domain,
        { principal, address, requestId },
        {
          agentId: claimedId,
          hostname: said.hostname ?? claimedId ?? address,
          address: said.address,
          os: said.os,
          version: said.version,
          tags: said.tags,
          systemInfo: said.systemInfo,
        },
      );
      return agent.id;
    } catch (error) {
      if (isProblem(error)) return { refused: error.code };
      throw error;
    }
  };

  /** Anybody may call himself what he likes, but not by the name of another (K). */
  const isOfAnother = async (principal: Principal, claimedId: string | undefined): Promise<boolean> =>
    claimedId !== undefined && (await isOfAnotherAgent(domain, principal, claimedId));

  return [
    route('/api/v1/ws/agent', 'agent'),
    route('/api/v1/ws/{agent_id}', 'id'),
    route('/websocket/ws/agent', 'agent'),
    route('/websocket/ws/{agent_id}', 'id'),
  ];
}

/** Agents, and whoever brings new ones in with the shared token; people have other ways. */
const mayBeAgent = ({ kind }: Principal): boolean => kind === 'agent' || kind === 'system';

async function unlessRefused(identify: Identify): Promise<Principal | null | 'refused'> {
  try {
    return await identify();
  } catch (error) {
    if (isProblem(error)) return 'refused';
    throw error;
  }
}
