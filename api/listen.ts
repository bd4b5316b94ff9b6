import http from 'node:http';
import https from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { Profile } from '../contracts/families/family.ts';
import type { App, Log } from './context.ts';
import { setProfile } from './profiles.ts';
import { headWithoutOffer, isWebSocketWish } from './protocol-offer.ts';
import type { UpgradeHandler } from './upgrade.ts';

/** What a connection may take and how long, on every listener. */
export interface ListenLimits {
  /** All headers of a request must have come within this time, TLS handshakes be done (slow-loris), milliseconds. */
  headersTimeoutMs: number;
  /** The whole request, body included, must have come within this time, milliseconds. */
  requestTimeoutMs: number;
  /** An idle connection is kept this long; longer than the usual 60 s of proxies, so that they close first. */
  keepAliveTimeoutMs: number;
  /** How often connections are looked at for the first two; less often would add to them. */
  checkIntervalMs: number;
  maxHeaderBytes: number;
  /** Open connections of one listener, sockets of agents included. */
  maxConnections: number;
}

export const defaultListenLimits: ListenLimits = {
  headersTimeoutMs: 10_000,
  requestTimeoutMs: 60_000,
  keepAliveTimeoutMs: 65_000,
  checkIntervalMs: 5_000,
  maxHeaderBytes: 16 * 1024,
  maxConnections: 20_000,
};

/** What is under way when the server stops may take this long to end. */
export const DEFAULT_CLOSE_DEADLINE_MS = 10_000;

export interface Listener {
  host: string;
  /** 0 lets the system choose. */
  port: number;
  profile: Profile;
  tls?: { cert: string | Buffer; key: string | Buffer };
}

export interface ListenerAddress {
  host: string;
  port: number;
  profile: Profile;
  url: string;
}

export interface Listening {
  addresses: ListenerAddress[];
  /** Stops accepting, waits for what is under way, cuts off what is left at the deadline. Idempotent. */
  close(options?: { deadlineMs?: number }): Promise<void>;
}

interface ListenDeps {
  app: App;
  upgrade: UpgradeHandler;
  log: Log;
  /** Where they differ from the defaults. */
  limits?: Partial<ListenLimits> | undefined;
}

/** Opens every listener, or none: throws with the address that could not be had. */
export async function listen(deps: ListenDeps, listeners: readonly Listener[]): Promise<Listening> {
  const callback = deps.app.callback();
  const servers: OpenServer[] = [];
  let closing: Promise<void> | undefined;

  function close({ deadlineMs = DEFAULT_CLOSE_DEADLINE_MS } = {}): Promise<void> {
    closing ??= Promise.all(servers.map((server) => server.close(deadlineMs))).then(() => {});
    return closing;
  }

  try {
    for (const listener of listeners) servers.push(await openServer(deps, callback, listener));
  } catch (error) {
    await close({ deadlineMs: 0 });
    throw error;
  }
  return { addresses: servers.map((server) => server.address), close };
}

interface OpenServer {
  address: ListenerAddress;
  close(deadlineMs: number): Promise<void>;
}

async function openServer(
  { upgrade, log, limits: given }: ListenDeps,
  callback: http.RequestListener,
  listener: Listener,
): Promise<OpenServer> {
  const { host, port, profile, tls } = listener;
  const limits = { ...defaultListenLimits, ...given };
  const options = {
    headersTimeout: limits.headersTimeoutMs,
    requestTimeout: limits.requestTimeoutMs,
    maxHeaderSize: limits.maxHeaderBytes,
    connectionsCheckingInterval: limits.checkIntervalMs,
    // A request that two readers could end at different places is refused.
    insecureHTTPParser: false,
  };
  const server = tls
    ? https.createServer({ ...options, ...tls, handshakeTimeout: limits.headersTimeoutMs })
    : http.createServer(options);
  server.keepAliveTimeout = limits.keepAliveTimeoutMs;
  // Node drops what is above this count, so a client could push out what a proxy adds. The bytes are the bound.
  server.maxHeadersCount = 0;
  server.maxConnections = limits.maxConnections;
  const upgraded = new Set<Socket>();
  // Opened in advance and never used; `closeIdleConnections` takes them for busy ones.
  const unused = new Set<Duplex>();
  // Those that were read anew.
  const known = new WeakSet<Duplex>();
  // The newest answer that is under way on a connection.
  const answering = new WeakMap<Duplex, http.ServerResponse>();
  const connected = tls ? 'secureConnection' : 'connection';

  /** As if no other protocol had been offered: from the first byte, once what came before it is answered. */
  function readAnew(request: http.IncomingMessage, socket: Socket, head: Buffer): void {
    const earlier = answering.get(socket);
    const read = (): void => {
      upgraded.delete(socket);
      if (socket.destroyed) return;
      socket.setTimeout(0); // That of the pause between two requests.
      socket.unshift(Buffer.concat([headWithoutOffer(request), head]));
      server.emit(connected, socket);
    };
    // Node has let go of the socket, and an error that nobody hears ends the process.
    if (!known.has(socket)) socket.on('error', () => socket.destroy());
    known.add(socket);
    if (earlier === undefined) read();
    else earlier.once('close', read);
  }

  server.on(connected, (socket: Duplex) => {
    if (known.has(socket)) return;
    unused.add(socket);
    socket.once('close', () => unused.delete(socket));
  });
  server.on('request', (request, response) => {
    unused.delete(request.socket);
    answering.set(request.socket, response);
    response.once('close', () => {
      if (answering.get(request.socket) === response) answering.delete(request.socket);
    });
    setProfile(request, profile);
    // A keep-alive connection that falls idle while we stop would hold the server open.
    response.once('finish', () => {
      if (!server.listening) server.closeIdleConnections();
    });
    void callback(request, response);
  });
  server.on('upgrade', (request: http.IncomingMessage, socket: Socket, head: Buffer) => {
    unused.delete(socket);
    setProfile(request, profile);
    upgraded.add(socket);
    if (!known.has(socket)) socket.once('close', () => upgraded.delete(socket));
    if (isWebSocketWish(request)) upgrade(request, socket, head);
    else readAnew(request, socket, head);
  });
  server.on('clientError', answerClientError);

  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause) =>
      reject(new Error(`cannot listen on ${host}:${port}: ${cause.message}`, { cause })),
    );
    server.listen({ host, port }, resolve);
  });
  server.removeAllListeners('error');
  server.on('error', (err) => log.error({ event: 'listener_error', host, port, err }));

  const bound = server.address() as AddressInfo;
  const urlHost = bound.family === 'IPv6' ? `[${bound.address}]` : bound.address;
  return {
    address: { host, port: bound.port, profile, url: `${tls ? 'https' : 'http'}://${urlHost}:${bound.port}` },
    close: (deadlineMs) => closeServer(server, { upgraded, unused }, deadlineMs),
  };
}

/** Upgraded sockets are told and closed by their owners; `http` no longer knows them, so they are ended here. */
function closeServer(
  server: http.Server | https.Server,
  { upgraded, unused }: { upgraded: ReadonlySet<Socket>; unused: ReadonlySet<Duplex> },
  deadlineMs: number,
): Promise<void> {
  return new Promise((resolve) => {
    const deadline = setTimeout(() => {
      server.closeAllConnections();
      for (const socket of upgraded) socket.destroy();
    }, deadlineMs);
    server.close(() => {
      clearTimeout(deadline);
      resolve();
    });
    server.closeIdleConnections();
    for (const socket of unused) socket.destroy();
  });
}

/** What cannot be read as HTTP is answered without naming a dialect: there is no path yet. */
function answerClientError(error: NodeJS.ErrnoException, socket: Duplex): void {
  if (error.code === 'ECONNRESET' || !socket.writable) return void socket.destroy();
  const status =
    error.code === 'HPE_HEADER_OVERFLOW' ? '431 Request Header Fields Too Large' : '400 Bad Request';
  const line = error.code === 'ERR_HTTP_REQUEST_TIMEOUT' ? '408 Request Timeout' : status;
  socket.end(`HTTP/1.1 ${line}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`);
}
