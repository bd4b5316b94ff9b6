/** One-time tickets, as hashes. A ticket is a row for as long as it may be used. */
import { execute, type Queryable, queryOne } from './database.ts';

/** Those of the session that nobody used in time go with it. Returns when the new one expires. */
export async function insertTicket(
  db: Queryable,
  ticket: { ticketHash: Buffer; sessionId: string; ttlMs: number },
): Promise<Date> {
  await execute(db, 'delete from tickets where session_id = :session_id and expires_at <= now()', {
    session_id: ticket.sessionId,
  });
  const row = await queryOne<{ expires_at: Date }>(
    db,
    `insert into tickets (ticket_hash, session_id, expires_at)
     values (:ticket_hash, :session_id, now() + :ttl_ms * interval '1 millisecond')
     returning expires_at`,
    { ticket_hash: ticket.ticketHash, session_id: ticket.sessionId, ttl_ms: ticket.ttlMs },
  );
  if (row === undefined) throw new Error('an insert returned no row');
  return row.expires_at;
}

/** Use the ticket: of any number of parallel calls one gets the session, the others undefined. */
export async function takeTicket(
  db: Queryable,
  ticketHash: Buffer,
): Promise<{ sessionId: string } | undefined> {
  const row = await queryOne<{ session_id: string; is_live: boolean }>(
    db,
    `delete from tickets where ticket_hash = :ticket_hash
     returning session_id, expires_at > now() as is_live`,
    { ticket_hash: ticketHash },
  );
  return row?.is_live ? { sessionId: row.session_id } : undefined;
}
