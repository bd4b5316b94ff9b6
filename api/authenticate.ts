import { problem } from '../contracts/errors.ts';
import type { IdentityDeps } from '../domain/identity/deps.ts';
import { identify } from '../domain/identity/identify.ts';
import type { Authenticate, CredentialSource } from './context.ts';

/**
 * Finds out who asks, for HTTP requests and socket upgrades alike: null without a credential, `invalid_token` for
 * one that is no good. A header goes before the query.
 */
export function createAuthenticate(deps: IdentityDeps): Authenticate {
  return async (request) => {
    const token = credentialOf(request);
    return token === null ? null : identify(deps, token);
  };
}

/** RFC 6750: one scheme, one space or more, one token. */
const bearer = /^bearer +(\S+) *$/i;

/** @throws invalid_token for a Bearer header without a token */
function credentialOf(request: CredentialSource): string | null {
  const { authorization } = request.headers;
  if (authorization !== undefined && /^bearer\b/i.test(authorization)) {
    const token = bearer.exec(authorization)?.[1];
    if (token === undefined) throw problem('invalid_token');
    return token;
  }
  const apiKey = request.headers['x-api-key'];
  if (typeof apiKey === 'string' && apiKey !== '') return apiKey;
  if (!takesTokenFromQuery(request)) return null;
  return request.query.get('token') || request.query.get('api_token') || null;
}

/**
 * Addresses end up in histories and in logs of proxies, so a query may hold a token only where clients cannot send
 * headers (browser WebSockets and event streams) and in the family whose contract has it everywhere.
 */
function takesTokenFromQuery({ headers, family }: CredentialSource): boolean {
  return (
    family === 'ananta' ||
    headers.upgrade?.toLowerCase() === 'websocket' ||
    (headers.accept ?? '').toLowerCase().includes('text/event-stream')
  );
}
