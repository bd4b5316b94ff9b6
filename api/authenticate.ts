import { problem } from '../contracts/errors.ts';
import type { IdentityDeps } from '../domain/identity/deps.ts';
import { identify } from '../domain/identity/identify.ts';
import { isTokenOf } from '../domain/identity/opaque-tokens.ts';
import { redeemTicket } from '../domain/identity/tickets.ts';
import { identifyCallback } from '../domain/url-agents/callback-token.ts';
import type { Authenticate, CredentialSource } from './context.ts';

/**
 * Finds out who asks, for HTTP requests and socket upgrades alike: null without a credential, `invalid_token` for
 * one that is no good. A header goes before the query, a ticket before a token.
 */
export function createAuthenticate(deps: IdentityDeps): Authenticate {
  return async (request, onGenuine) => {
    const token = tokenOfHeaders(request);
    if (token !== null && isTokenOf('callback', token)) {
      // It opens nothing that lasts.
      if (request.channel !== 'request') throw problem('invalid_token');
      return identifyCallback(deps, token);
    }
    if (token !== null) return identify(deps, token, onGenuine);
    const ticket = request.channel === 'request' ? null : request.query.get('ticket');
    if (ticket !== null) return redeemTicket(deps, ticket);
    const shown = takesTokenFromQuery(request) && tokenOfQuery(request.query);
    return shown ? identify(deps, shown) : null;
  };
}

/** RFC 6750: one scheme, one space or more, one token. */
const bearer = /^bearer +(\S+) *$/i;

/** @throws invalid_token for a Bearer header without a token */
function tokenOfHeaders({ headers }: CredentialSource): string | null {
  const { authorization } = headers;
  if (authorization !== undefined && /^bearer\b/i.test(authorization)) {
    const token = bearer.exec(authorization)?.[1];
    if (token === undefined) throw problem('invalid_token');
    return token;
  }
  const apiKey = headers['x-api-key'];
  return typeof apiKey === 'string' && apiKey !== '' ? apiKey : null;
}

const tokenOfQuery = (query: URLSearchParams): string | null =>
  query.get('token') || query.get('api_token') || null;

/**
 * Addresses end up in histories and in logs of proxies, so a query may hold a token only where clients cannot send
 * headers (browser WebSockets and event streams) and in the family whose contract has it everywhere.
 */
const takesTokenFromQuery = ({ channel, family }: CredentialSource): boolean =>
  family === 'ananta' || channel !== 'request';
