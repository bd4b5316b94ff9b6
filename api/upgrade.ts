import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import { type WebSocket, WebSocketServer } from 'ws';
import { MAX_FRAME_BYTES } from '../contracts/agent-protocol.ts';
import { isProblem, problem, type SteelthreadError } from '../contracts/errors.ts';
import { type Family, familyOfPath } from '../contracts/families/family.ts';
import { clientAddress, type Log, requestIdOf, stripSecrets } from './context.ts';
import { asProblem, describeError } from './errors/describe-error.ts';
import { createOriginCheck } from './origins.ts';
import { profileOf } from './profiles.ts';

/** A socket that was refused has this long to answer our close frame. */
const REFUSED_CLOSE_TIMEOUT_MS = 2_000;

/** RFC 6455: a policy of the server was violated; also how clients know a refused credential. */
export const CLOSE_POLICY_VIOLATION = 1008;

/** A request to speak WebSocket, before it is answered. */
export interface Upgrade {
  request: IncomingMessage;
  /** Values of the path's parameters, decoded. */
  params: Readonly<Record<string, string>>;
  query: URLSearchParams;
  family: Family;
  /** Address of the client, behind the trusted proxies. */
  address: string;
  /** Path and query fit for logs. */
  safePath: string;
  /** Correlation id: the client's own when it is well-formed, else ours. */
  requestId: string;
  /** A browser can put its credential in the query only. */
  channel: 'socket';
  /** Completes the handshake. */
  accept(): Promise<WebSocket>;
  /** Completes the handshake and closes at once without a frame: how the families refuse a socket. */
  refuse(reason: string, code?: number): Promise<void>;
  /** Who was accepted turned out to have no right; the socket is closed by the caller. */
  noteRefused(reason: string): void;
}

export interface UpgradeRoute {
  /** `/api/v1/ws/{agent_id}`; literal segments win over parameters. */
  path: `/${string}`;
  /** Largest frame of the client, bytes; MAX_FRAME_BYTES unless it has less to say. A larger one closes with 1009. */
  maxFrameBytes?: number;
  /** A problem thrown before `accept` is answered in plain HTTP, in the dialect of the path. */
  handle: (upgrade: Upgrade) => Promise<void>;
}

export type UpgradeHandler = (request: IncomingMessage, socket: Duplex, head: Buffer) => void;

/** A socket that was not opened. */
export interface RefusedUpgrade {
  /** Path and query fit for logs. */
  path: string;
  address: string;
  requestId: string;
  /** Code of the error table, or `refused` where the route gave the reason. */
  code: string;
  reason: string;
}

interface UpgradeDeps {
  routes: readonly UpgradeRoute[];
  /** Origins of pages that may open sockets, exactly; programs name none. */
  origins?: readonly string[];
  /** Hears of every socket that was refused for who asked or from where. Must not throw. */
  onRefused?: (refused: RefusedUpgrade) => void;
  trustProxyHops: number;
  shutdown: AbortSignal;
  log: Log;
}

/** The one place where sockets are upgraded; every listener gives its upgrades here. */
export function createUpgradeRouter(deps: UpgradeDeps): UpgradeHandler {
  const { routes, trustProxyHops, shutdown, log, onRefused } = deps;
  const isOriginAllowed = createOriginCheck(deps.origins ?? []);
  const matchers = routes.map((route) => ({
    ...route,
    match: pathMatcher(route.path),
    sockets: new WebSocketServer({
      noServer: true,
      perMessageDeflate: false,
      maxPayload: route.maxFrameBytes ?? MAX_FRAME_BYTES,
    }),
  }));
  // Fewer parameters first, so that a literal path is found before one that would take its last segment as an id.
  matchers.sort((a, b) => a.path.split('{').length - b.path.split('{').length);

  return (request, socket, head) => {
    socket.on('error', (err) => log.debug({ event: 'upgrade_socket_error', err }));
    const url = parseUrl(request.url);
    const facts = {
      request,
      query: url.searchParams,
      family: familyOfPath(url.pathname, profileOf(request)),
      address: clientAddress(request, trustProxyHops),
      safePath: stripSecrets(request.url ?? '/'),
      requestId: requestIdOf(request.headers),
      channel: 'socket',
    } as const;
    const refused = (code: string, reason: string): void => {
      const { safePath: path, address, requestId } = facts;
      log.info({ event: 'upgrade_refused', requestId, path, address, code, reason });
      onRefused?.({ path, address, requestId, code, reason });
    };
    handleUpgrade().catch((thrown: unknown) => {
      const error = asProblem(thrown);
      if (isProblem(thrown)) refused(error.code, error.message);
      else {
        const { safePath: path, address, requestId } = facts;
        log.error({ event: 'upgrade_failed', requestId, path, address, code: error.code, err: thrown });
      }
      answerPlain(socket, error, url.pathname, facts);
    });

    async function handleUpgrade(): Promise<void> {
      if (shutdown.aborted) throw problem('shutdown_in_progress');
      for (const { match, sockets, handle } of matchers) {
        const params = match(url.pathname);
        if (params === null) continue;
        if (!isOriginAllowed(request)) throw problem('origin_not_allowed');
        const acceptHere = () => accept(sockets, request, socket, head);
        return handle({
          ...facts,
          params,
          accept: acceptHere,
          noteRefused: (reason) => refused('refused', reason),
          async refuse(reason, code = CLOSE_POLICY_VIOLATION) {
            refused('refused', reason);
            closeRefused(await acceptHere(), code, reason);
          },
        });
      }
      throw problem('not_found');
    }
  };
}

function accept(sockets: WebSocketServer, request: IncomingMessage, socket: Duplex, head: Buffer) {
  return new Promise<WebSocket>((resolve, reject) => {
    // ws answers a bad handshake itself and then only destroys the socket.
    socket.once('close', () => reject(problem('bad_request')));
    sockets.handleUpgrade(request, socket, head, (accepted) => {
      // A bad frame is an `error`, and one that nobody hears ends the process; ws closes the socket by itself.
      accepted.on('error', () => undefined);
      resolve(accepted);
    });
  });
}

function closeRefused(socket: WebSocket, code: number, reason: string): void {
  socket.on('error', () => socket.terminate());
  socket.close(code, reason.slice(0, 120));
  const timer = setTimeout(() => socket.terminate(), REFUSED_CLOSE_TIMEOUT_MS);
  socket.once('close', () => clearTimeout(timer));
}

/** A matcher that gives the decoded parameters, or null where the path is another one. */
function pathMatcher(path: string): (candidate: string) => Record<string, string> | null {
  const pattern = path.replaceAll(/[.*+?^$()|[\]\\]/g, '\\$&').replaceAll(/\{(\w+)\}/g, '(?<$1>[^/]+)');
  const expression = new RegExp(`^${pattern}/?$`);
  return (candidate) => {
    const found = expression.exec(candidate);
    if (found === null) return null;
    try {
      const entries = Object.entries(found.groups ?? {});
      return Object.fromEntries(entries.map(([name, value]) => [name, decodeURIComponent(value)]));
    } catch {
      return null;
    }
  };
}

/** The request target can be anything; only its path and query are of interest. */
function parseUrl(target = '/'): URL {
  try {
    return new URL(`http://host${target.startsWith('/') ? target : '/'}`);
  } catch {
    return new URL('http://host/');
  }
}

function answerPlain(
  socket: Duplex,
  error: SteelthreadError,
  path: string,
  { family, request, requestId }: Pick<Upgrade, 'family' | 'request' | 'requestId'>,
): void {
  if (!socket.writable) return;
  const { status, contentType, headers, body } = describeError(error, {
    family,
    route: null,
    path,
    method: request.method ?? 'GET',
    requestId,
    accept: request.headers.accept,
  });
  const text = JSON.stringify(body);
  const lines = [
    `HTTP/1.1 ${status} ${error.code}`,
    `Content-Type: ${contentType}; charset=utf-8`,
    `Content-Length: ${Buffer.byteLength(text)}`,
    `X-Request-Id: ${requestId}`,
    `X-Correlation-ID: ${requestId}`,
    'X-Content-Type-Options: nosniff',
    ...Object.entries(headers).map(([name, value]) => `${name}: ${value}`),
    'Connection: close',
  ];
  socket.end(`${lines.join('\r\n')}\r\n\r\n${text}`);
}
