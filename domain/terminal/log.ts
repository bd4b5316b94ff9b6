/** The log of terminals, in the words of the ananta contract. */
import type { Principal } from '../../contracts/principal.ts';
import { TERMINAL_LOG_TAIL, type TerminalLogEntry } from '../../contracts/terminals.ts';
import type { Queryable } from '../../db/database.ts';
import {
  insertTerminalLog,
  readTerminalLogAfter,
  readTerminalLogTail,
  type TerminalLogRow,
} from '../../db/terminal-log.ts';
import type { TerminalSessionRow } from '../../db/terminal-sessions.ts';
import type { DomainDeps } from '../deps.ts';
import { assertCan, grantOf } from '../policy.ts';

export type { TerminalLogRow } from '../../db/terminal-log.ts';

/** Entries read at a time. */
const PAGE = 200;

/** The id of a session as clients of the contract know it. */
export const wireTerminalId = (id: string): string => `ws-${id}`;

type Said = Pick<TerminalLogEntry, 'event'> & Partial<Pick<TerminalLogEntry, 'preview' | 'bytes' | 'reason'>>;

export async function writeTerminalLog(
  db: Queryable,
  session: Pick<TerminalSessionRow, 'id' | 'agentId' | 'ownerId' | 'ownerName' | 'address' | 'forwardParam'>,
  said: Said,
): Promise<void> {
  const now = new Date();
  await insertTerminalLog(db, {
    sessionId: session.id,
    ownerId: session.ownerId,
    event: said.event,
    entry: {
      timestamp: now.getTime() / 1000,
      timestamp_iso: now.toISOString(),
      session_id: wireTerminalId(session.id),
      mode: 'interactive',
      principal: session.ownerName,
      agent_id: session.agentId,
      ...(session.forwardParam !== null && { forward_param: session.forwardParam }),
      ...(session.address !== null && { remote_addr: session.address }),
      ...said,
    },
  });
}

const ownerOf = (principal: Principal): string | undefined =>
  grantOf(principal, 'list', 'terminal') === 'all' ? undefined : principal.id;

/** The newest entries, oldest first; of who is no administrator only their own. @throws forbidden */
export async function readTerminalLog(
  deps: Pick<DomainDeps, 'db'>,
  principal: Principal,
  limit = TERMINAL_LOG_TAIL,
): Promise<TerminalLogRow[]> {
  assertCan(principal, 'list', 'terminal');
  return readTerminalLogTail(deps.db, ownerOf(principal), limit);
}

/** What came after an entry, without those that are known. @throws forbidden */
export async function followTerminalLog(
  deps: Pick<DomainDeps, 'db'>,
  principal: Principal,
  from: { after: number; known: readonly number[] },
): Promise<TerminalLogRow[]> {
  assertCan(principal, 'list', 'terminal');
  return readTerminalLogAfter(deps.db, ownerOf(principal), from, PAGE);
}
