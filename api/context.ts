import type { IncomingMessage } from 'node:http';
import type Koa from 'koa';
import { v7 as newId } from 'uuid';
import type { Family, Profile } from '../contracts/families/family.ts';
import type { Principal } from '../contracts/principal.ts';
import type { RouteContract } from '../contracts/route.ts';

/** What the middlewares know about a request. Each field is set by the middleware named. */
export interface RequestState {
  /** requestFacts */
  requestId: string;
  profile: Profile;
  /** Address of the client, behind the trusted proxies. */
  address: string;
  /** Path and query with secrets stripped, fit for logs and error bodies. */
  safePath: string;
  /** Resolves once the answer has left or the client has gone, whichever comes first. */
  ended: Promise<void>;
  /** mount: the route that matched; until then null. */
  route: RouteContract | null;
  principal: Principal | null;
  /** errorFunnel: the code answered, for log and metrics. */
  errorCode: string | null;
}

export type AppContext = Koa.ParameterizedContext<RequestState>;
export type AppMiddleware = Koa.Middleware<RequestState>;
export type App = Koa<RequestState>;

/** A fact worth a line: the event's name and its fields. */
export type LogFact = { event: string } & Record<string, unknown>;

/** The logger as this folder uses it. */
export type Log = Record<'debug' | 'info' | 'warn' | 'error', (fact: LogFact) => void>;

/**
 * Whoever asks, or null when the request carries no credential. Throws `invalid_token` for a bad one. `onGenuine` is
 * called while a session is looked up whose token has our own signature: not a stranger, but perhaps logged out.
 */
export type Authenticate = (request: CredentialSource, onGenuine?: () => void) => Promise<Principal | null>;

/** Where credentials may stand: HTTP requests and socket upgrades alike. */
export interface CredentialSource {
  headers: IncomingMessage['headers'];
  /** Query parameters of the request; `token` for clients that cannot send headers. */
  query: URLSearchParams;
  /** Family whose rules on credentials apply. */
  family: Family;
  address: string;
  /** What is asked for: browsers can send headers with a plain request only. */
  channel: 'request' | 'stream' | 'socket';
}

/** Names of parameters whose value is a secret: `access_token`, `ticket`, `api-key`, `new_password` … */
const secretParameter = /(token|ticket|secret|password|passphrase|code|(^|[-_]|api)key)$/i;

/** The path and query with the values of secret parameters replaced, so that it may be logged and sent. */
export function stripSecrets(url: string): string {
  const start = url.indexOf('?');
  if (start === -1) return url;
  let found = false;
  const query = [...new URLSearchParams(url.slice(start + 1))].map(([name, value]): [string, string] => {
    if (!secretParameter.test(name)) return [name, value];
    found = true;
    return [name, 'stripped'];
  });
  return found ? `${url.slice(0, start)}?${new URLSearchParams(query)}` : url;
}

/**
 * Address of the client: the peer, or with `trustedHops` proxies in front the entry that the outermost trusted
 * proxy added to X-Forwarded-For. Entries further left are the client's own claim and are not believed.
 */
export function clientAddress(request: IncomingMessage, trustedHops: number): string {
  const peer = request.socket.remoteAddress ?? 'unknown';
  const header = request.headers['x-forwarded-for'];
  const claimed = (Array.isArray(header) ? header.join(',') : (header ?? ''))
    .split(',')
    .map((part) => withoutPort(part.trim()));
  const chain = [...claimed.filter((part) => part !== ''), peer];
  return chain[Math.max(0, chain.length - 1 - trustedHops)] ?? peer;
}

/**
 * Some proxies name the client's port as well (`192.0.2.1:4711`, `"[2001:db8::1]:4711"`, RFC 7239): every connection would
 * count as another address.
 */
function withoutPort(entry: string): string {
  const [, ipv6, ipv4] = /^"?(?:\[([0-9a-f:.]+)\]|(\d+\.\d+\.\d+\.\d+))(?::\d+)?"?$/i.exec(entry) ?? [];
  return ipv6 ?? ipv4 ?? entry;
}

/** What a client may choose as correlation id: nothing that could break a log line or a header. */
const safeRequestId = /^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$/;

/** The client's own correlation id when it is well-formed, else a new one. */
export function requestIdOf(headers: IncomingMessage['headers']): string {
  const claimed = headers['x-request-id'] || headers['x-correlation-id'];
  return typeof claimed === 'string' && safeRequestId.test(claimed) ? claimed : newId();
}
