/**
 * Where agents of the dialects connect: with their id in the path or with a register frame. A connection has three
 * parts: who it is (here), how it speaks (dialects/), and then it is a socket of the bridge (legacy-socket.ts).
 *
 *  K. A credential decides who the agent is: its own token, or the shared agent token with the id it claims. Until it
 *     is known, a peer may say little, and few may be unknown at a time.
 */
import type { WebSocket } from 'ws';
import { closeCodes, HELLO_DEADLINE_MS } from '../../contracts/agent-protocol.ts';
import { isProblem } from '../../contracts/errors.ts';
import type { Principal } from '../../contracts/principal.ts';
import type { Log } from '../../domain/deps.ts';
import type { Authenticate } from '../context.ts';
import type { SessionWatch } from '../events/session-watch.ts';
import type { Upgrade, UpgradeRoute } from '../upgrade.ts';
import type { AgentSocketHandlers } from './agent-socket.ts';
import type { Bridge } from './bridge.ts';
import { parseLegacyFrame } from './dialects/events.ts';
import {
  type Endpoint,
  helloOf,
  isUsableId,
  type Registration,
  readRegistration,
  unregistered,
} from './dialects/registration.ts';
import { createLegacySocket, errorText, type LegacyLedger, welcomeText } from './legacy-socket.ts';

/** What the server these agents were written for takes as one frame; an answer with all its output is one. */
const MAX_LEGACY_FRAME_BYTES = 16 * 1024 * 1024;
/** What a peer may say before it is known, bytes. */
const MAX_GREETING_BYTES = 128 * 1024;
/** Peers that have shown no credential yet; more are told to come again. */
const MAX_UNKNOWN_PEERS = 1_000;
/** RFC 6455, 7.4.1: a message that is too big to process. */
const CLOSE_TOO_BIG = 1009;

export interface LegacyRouteDeps {
  bridge: Pick<Bridge, 'attach' | 'hasRoomFor'>;
  ledger: LegacyLedger;
  authenticate: Authenticate;
  sessions: Pick<SessionWatch, 'watch'>;
  /** The agent that the holder of the shared agent token speaks for. @throws problems: it may not */
  register(actor: RegisterActor, wish: RegisterWish): Promise<{ agentId: string }>;
  /** Whether there is an agent of this id. */
  isAgent(agentId: string): Promise<boolean>;
  log: Log;
}

export interface RegisterActor {
  principal: Principal;
  address: string;
  requestId: string;
}

export interface RegisterWish {
  /** The id the agent claims. */
  agentId: string | undefined;
  hostname: string;
  address: string | undefined;
  os: string | undefined;
  arch: string | undefined;
  version: string | undefined;
  tags: string[];
  systemInfo: Readonly<Record<string, unknown>> | undefined;
}

interface Greeting {
  registration: Registration;
  /** Texts that came with it and are still to be read. */
  early: string[];
}

/** Asked again when the hello is stored, and by whoever watches. */
type Identify = () => Promise<Principal | null>;

export function legacyUpgradeRoutes(deps: LegacyRouteDeps): UpgradeRoute[] {
  const { bridge, log } = deps;
  let unknownPeers = 0;

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
    if (pathId !== undefined && !isUsableId(pathId)) return upgrade.refuse('this cannot be the id of an agent');
    if (principal !== null) {
      if (await isOfAnother(principal, pathId)) return upgrade.refuse('the credential is of another agent');
      if (principal.kind === 'agent' && !bridge.hasRoomFor(principal.id))
        return upgrade.refuse('too many sockets of this agent; try again', closeCodes.goingAway);
    } else if (unknownPeers >= MAX_UNKNOWN_PEERS) {
      return upgrade.refuse('too many agents are connecting; try again', closeCodes.goingAway);
    }
    const ws = await upgrade.accept();
    unknownPeers += principal === null ? 1 : 0;
    try {
      if (principal !== null && pathId !== undefined)
        ws.send(welcomeText(principal.kind === 'agent' ? principal.id : pathId, upgrade.requestId));
      const greeting = await greet(ws, upgrade, endpoint, principal !== null);
      if (greeting !== undefined) await connect(ws, upgrade, greeting, pathId, principal, identify);
    } catch (error) {
      log.error({ event: 'legacy_agent_failed', address: upgrade.address, err: error });
      ws.close(closeCodes.goingAway, 'could not connect the agent; try again');
    } finally {
      unknownPeers -= principal === null ? 1 : 0;
    }
  };

  /** From the register frame to a socket of the bridge. */
  const connect = async (
    ws: WebSocket,
    upgrade: Upgrade,
    { registration, early }: Greeting,
    pathId: string | undefined,
    known: Principal | null,
    identifyByRequest: Identify,
  ): Promise<void> => {
    // What comes while this is found out is read by the socket.
    const listener = collect(ws, early);
    const refuse = (reason: string, code: number = closeCodes.policy): void => {
      if (code === closeCodes.policy) upgrade.noteRefused(reason);
      ws.off('message', listener);
      ws.close(code, reason);
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
        return createLegacySocket(ws, identity, watched, deps.ledger);
      },
      async () => {
        const now = await unlessRefused(identify);
        return now !== null && now !== 'refused' && now.kind === principal.kind && now.id === principal.id;
      },
    );
    if (socket === undefined) return refuse('too many sockets of this agent; try again', closeCodes.goingAway);
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
    ws.off('message', listener);
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
      const { agentId } = await deps.register(
        { principal, address, requestId },
        {
          agentId: claimedId,
          hostname: said.hostname ?? claimedId ?? address,
          address: said.address,
          os: said.os,
          arch: said.arch,
          version: said.version,
          tags: said.tags,
          systemInfo: said.systemInfo,
        },
      );
      return agentId;
    } catch (error) {
      if (isProblem(error)) return { refused: error.code };
      throw error;
    }
  };

  /** An agent may call itself what it likes, but not by the name of another (K). */
  const isOfAnother = async (principal: Principal, claimedId: string | undefined): Promise<boolean> =>
    principal.kind === 'agent' &&
    claimedId !== undefined &&
    claimedId !== principal.id &&
    (await deps.isAgent(claimedId));

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

/** Keep what the peer says, in order. */
function collect(ws: WebSocket, texts: string[]) {
  const listener = (data: WebSocket.RawData): void => {
    texts.push(data.toString());
  };
  ws.on('message', listener);
  return listener;
}

/**
 * Wait for the first frame. Undefined when the peer is gone or was sent away. An agent that has shown its credential
 * and its id already may begin with something else, or say nothing.
 */
function greet(
  ws: WebSocket,
  { request }: Upgrade,
  endpoint: Endpoint,
  isKnown: boolean,
): Promise<Greeting | undefined> {
  return new Promise((resolve) => {
    let bytes = 0;
    const settle = (greeting?: Greeting): void => {
      clearTimeout(timer);
      request.socket.off('data', count);
      ws.off('message', first);
      ws.off('close', gone);
      resolve(greeting);
    };
    const sendAway = (code: number, reason: string, message?: string): void => {
      if (message !== undefined && ws.readyState === ws.OPEN) ws.send(errorText(message));
      ws.close(code, reason);
      settle();
    };
    const gone = (): void => settle();
    const count = (chunk: Buffer): void => {
      bytes += chunk.length;
      if (bytes > MAX_GREETING_BYTES) sendAway(CLOSE_TOO_BIG, 'too much before the registration');
    };
    const first = (data: WebSocket.RawData): void => {
      const text = data.toString();
      const event = parseLegacyFrame(text);
      if (event.kind === 'register') {
        const registration = readRegistration(event.frame, endpoint);
        if (endpoint === 'agent' && registration.claimedId === undefined) {
          const message = 'Agent ID required in registration';
          return sendAway(closeCodes.policy, message, message);
        }
        return settle({ registration, early: [] });
      }
      if (endpoint === 'id' && isKnown) return settle({ registration: unregistered, early: [text] });
      const message = 'First message must be registration';
      sendAway(closeCodes.policy, message, message);
    };
    const timer = setTimeout(() => {
      if (endpoint === 'id' && isKnown) settle({ registration: unregistered, early: [] });
      else sendAway(closeCodes.policy, 'no registration in time');
    }, HELLO_DEADLINE_MS);
    request.socket.on('data', count);
    ws.on('message', first);
    ws.once('close', gone);
  });
}
