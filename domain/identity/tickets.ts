/** One-time tickets: a session opens one socket or stream with each. */
import { problem } from '../../contracts/errors.ts';
import type { Principal } from '../../contracts/principal.ts';
import { TICKET_TTL_S, type TicketView } from '../../contracts/tickets.ts';
import { findLiveSession } from '../../db/sessions.ts';
import { insertTicket, takeTicket } from '../../db/tickets.ts';
import type { Actor, DomainDeps } from '../deps.ts';
import { assertCan } from '../policy.ts';
import { transact } from '../transact.ts';
import { createToken, hashToken, isTokenOf } from './opaque-tokens.ts';
import { principalOf } from './present-user.ts';

/**
 * A ticket for the session of the request. It ends with the session.
 * @throws forbidden, also to a principal without a session: programs send headers
 */
export async function createTicket(deps: DomainDeps, actor: Actor): Promise<TicketView> {
  const { principal } = actor;
  assertCan(principal, 'create', 'ticket', principal.id);
  const { sessionId } = principal;
  if (sessionId === null) throw problem('forbidden');
  const ticket = createToken('ticket');
  const expiresAt = await transact(deps, async (unit) => {
    unit.audit(actor, { action: 'ticket.create', targetKind: 'session', targetId: sessionId });
    return insertTicket(unit.trx, {
      ticketHash: hashToken(ticket),
      sessionId,
      ttlMs: TICKET_TTL_S * 1000,
    });
  });
  return { ticket, expiresAt: expiresAt.toISOString() };
}

/**
 * The principal of the session that made the ticket. The ticket is used up, whatever comes of it.
 * @throws invalid_token when it is unknown, used or expired, or its session has ended
 */
export async function redeemTicket(deps: Pick<DomainDeps, 'db'>, ticket: string): Promise<Principal> {
  const taken = isTokenOf('ticket', ticket) && (await takeTicket(deps.db, hashToken(ticket)));
  const session = taken && (await findLiveSession(deps.db, taken.sessionId));
  if (!session) throw problem('invalid_token');
  return principalOf(session);
}
