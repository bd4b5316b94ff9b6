/**
 * Terminal sessions: open, look, end. Who opened one is its owner: only they come back to it.
 *
 *  A. (promise P6) The row and its audit row are committed before the agent hears of a session.
 *  B. The agent says how a session ended. The server says so only of one that its agent does not know (`lost`).
 */
import { v7 as uuidv7 } from 'uuid';
import { problem } from '../../contracts/errors.ts';
import type { Page } from '../../contracts/shared.ts';
import {
  MAX_TERMINALS_OF_PRINCIPAL,
  type TerminalListQuery,
  type TerminalSessionView,
} from '../../contracts/terminals.ts';
import { findBridgeOf } from '../../db/agent-connections.ts';
import { findAgent } from '../../db/agents.ts';
import { execute, type Trx } from '../../db/database.ts';
import { lockKeys } from '../../db/lock-keys.ts';
import {
  countOpenTerminals,
  endTerminalSession,
  findTerminalSession,
  insertTerminalSession,
  listOverdueTerminals,
  listTerminalSessions,
  listTerminalsToReconcile,
  markTerminalOpened,
  requestTerminalEnd,
  type TerminalEnd,
  type TerminalSessionRow,
} from '../../db/terminal-sessions.ts';
import { plainText } from '../agents/plain-text.ts';
import { pageOfRows, uuidPositionOf } from '../cursor.ts';
import type { Actor, DomainDeps } from '../deps.ts';
import { assertCan, can, grantOf } from '../policy.ts';
import { transact, type Unit } from '../transact.ts';
import { TERMINAL_OVERDUE_MS, type TerminalLimits } from './limits.ts';
import { writeTerminalLog } from './log.ts';

export type { TerminalSessionRow } from '../../db/terminal-sessions.ts';

export interface TerminalWish {
  agentId: string;
  /** This process holds the agent's socket. */
  isHere: boolean;
  cols: number;
  rows: number;
  forwardParam: string | null;
}

/** What the server itself does with sessions. */
const server: Actor = {
  principal: { kind: 'system', id: 'server', name: 'server', roles: [], sessionId: null },
  address: null,
  requestId: null,
};

/**
 * Write a new session down (A).
 * @throws forbidden, agent_not_found, agent_revoked, agent_not_connected, terminal_unavailable, conflict
 */
export async function openTerminal(
  deps: DomainDeps,
  actor: Actor,
  wish: TerminalWish,
  limits: TerminalLimits,
): Promise<TerminalSessionRow> {
  const { principal } = actor;
  assertCan(principal, 'create', 'terminal', principal.id);
  const { agentId } = wish;
  const agent = await findAgent(deps.db, agentId);
  if (agent === undefined) throw problem('agent_not_found', { agentId });
  if (agent.revokedAt !== null) throw problem('agent_revoked', { agentId });
  if (!agent.capabilities.includes('terminal')) {
    throw problem('terminal_unavailable', { reason: `agent ${agentId} offers none` });
  }
  if (agent.epoch === null || !wish.isHere) throw problem('agent_not_connected', { agentId });
  return transact(deps, async (unit) => {
    await lockTerminalsOf(unit.trx, principal.id);
    if ((await countOpenTerminals(unit.trx, principal.id)) >= MAX_TERMINALS_OF_PRINCIPAL) {
      throw problem('conflict', { reason: `${MAX_TERMINALS_OF_PRINCIPAL} terminals are open already` });
    }
    const session = await insertTerminalSession(unit.trx, {
      id: uuidv7(),
      agentId,
      forwardParam: wish.forwardParam,
      cols: wish.cols,
      rows: wish.rows,
      ownerKind: principal.kind,
      ownerId: principal.id,
      ownerName: principal.name,
      address: actor.address,
      isRecorded: limits.isRecorded,
      recordsInput: limits.recordsInput,
      maxMs: limits.maxMs,
    });
    unit.audit(actor, {
      action: 'terminal.open',
      targetKind: 'terminal',
      targetId: session.id,
      details: { agentId, isRecorded: session.isRecorded, recordsInput: session.recordsInput },
    });
    unit.emit('terminal.opened', {
      agentId,
      ownerId: principal.id,
      data: { terminalId: session.id, openedBy: principal.name },
    });
    await writeTerminalLog(unit.trx, session, { event: 'session_open' });
    return session;
  });
}

/** Openings of one principal are counted one after the other. */
const lockTerminalsOf = (trx: Trx, principalId: string): Promise<void> =>
  execute(trx, 'select pg_advisory_xact_lock(:key, hashtext(:id))', {
    key: lockKeys.terminals,
    id: principalId,
  });

/** The agent has made it. Nothing when it has ended meanwhile, or is not its own. */
export async function noteTerminalOpened(
  deps: DomainDeps,
  opened: { sessionId: string; agentId: string; shell: string },
): Promise<void> {
  const { sessionId: id, agentId, shell } = opened;
  await markTerminalOpened(deps.db, { id, agentId, shell: plainText(shell) });
}

/**
 * The open session to come back to, written down as well: who reads and types is known for every moment.
 * @throws forbidden, terminal_not_found (not there, ended, or of somebody else)
 */
export async function reattachTerminal(
  deps: DomainDeps,
  actor: Actor,
  id: string,
): Promise<TerminalSessionRow> {
  const { principal } = actor;
  assertCan(principal, 'create', 'terminal', principal.id);
  const session = await findTerminalSession(deps.db, id);
  const isOwner = session?.ownerKind === principal.kind && session.ownerId === principal.id;
  if (session === undefined || !isOwner || session.state === 'ended') {
    throw problem('terminal_not_found', { terminalId: id });
  }
  await transact(deps, async (unit) => {
    unit.audit(actor, {
      action: 'terminal.attach',
      targetKind: 'terminal',
      targetId: id,
      details: { agentId: session.agentId },
    });
  });
  return session;
}

/** @throws forbidden, terminal_not_found (or not visible) */
export async function getTerminal(deps: DomainDeps, actor: Actor, id: string): Promise<TerminalSessionRow> {
  assertCan(actor.principal, 'read', 'terminal');
  const session = await findTerminalSession(deps.db, id);
  if (session === undefined || !can(actor.principal, 'read', 'terminal', session.ownerId)) {
    throw problem('terminal_not_found', { terminalId: id });
  }
  return session;
}

/** @throws forbidden, invalid_cursor */
export async function listTerminalPage(
  deps: DomainDeps,
  actor: Actor,
  { limit, cursor, agentId, state }: TerminalListQuery,
): Promise<Page<TerminalSessionView>> {
  const { principal } = actor;
  assertCan(principal, 'list', 'terminal');
  const rows = await listTerminalSessions(deps.db, {
    ownerId: grantOf(principal, 'list', 'terminal') === 'all' ? undefined : principal.id,
    agentId,
    isOpen: state === undefined ? undefined : state === 'open',
    before: uuidPositionOf(cursor),
    limit: limit + 1,
  });
  const page = pageOfRows(rows, limit, ({ createdAt, id }) => ({ at: createdAt, id }));
  return { ...page, items: page.items.map(presentTerminal) };
}

/**
 * Ask for the end. The process that holds the agent's socket hears of it by the event and tells the agent.
 * @throws forbidden, terminal_not_found
 */
export async function endTerminal(
  deps: DomainDeps,
  actor: Actor,
  id: string,
  reason = 'ended by request',
): Promise<TerminalSessionRow> {
  assertCan(actor.principal, 'delete', 'terminal');
  const session = await getTerminal(deps, actor, id);
  if (session.state === 'ended') return session;
  return transact(deps, async (unit) => {
    const asked = await requestTerminalEnd(unit.trx, { id, reason });
    if (asked === undefined) return { ...session, ...(await findTerminalSession(unit.trx, id)) };
    unit.audit(actor, {
      action: 'terminal.end',
      targetKind: 'terminal',
      targetId: id,
      details: { agentId: session.agentId, reason },
    });
    unit.emit('terminal.end_requested', {
      agentId: session.agentId,
      ownerId: session.ownerId,
      data: { terminalId: id, reason: asked.endRequestedReason ?? reason },
    });
    return asked;
  });
}

type SessionRef = Pick<TerminalSessionRow, 'id' | 'agentId'>;

/** A session has ended, as its agent says. Nothing when it had, or is not its own. */
export async function recordTerminalEnd(deps: DomainDeps, ref: SessionRef, end: TerminalEnd): Promise<void> {
  await transact(deps, (unit) => settleTerminal(unit, ref, { ...end, reason: plainText(end.reason) }));
}

async function settleTerminal(unit: Unit, ref: SessionRef, end: TerminalEnd): Promise<void> {
  const { id } = ref;
  const session = await endTerminalSession(unit.trx, ref, end);
  if (session === undefined) return;
  unit.audit(server, {
    action: 'terminal.close',
    targetKind: 'terminal',
    targetId: id,
    details: { agentId: session.agentId, openedBy: session.ownerName, ...end },
  });
  unit.emit('terminal.closed', {
    agentId: session.agentId,
    ownerId: session.ownerId,
    data: { terminalId: id, reason: end.reason, exitCode: end.exitCode },
  });
  await writeTerminalLog(unit.trx, session, { event: 'session_close', reason: end.reason });
}

/** The end of a session whose agent does not know it. */
export const lost: TerminalEnd = {
  reason: 'lost',
  exitCode: null,
  signal: null,
  survivors: null,
  outputBytes: null,
};

/** Whether another process of the API holds the agent's socket now. */
export async function isAgentElsewhere(
  deps: Pick<DomainDeps, 'db'>,
  agentId: string,
  bridgeId: string,
): Promise<boolean> {
  const bridge = await findBridgeOf(deps.db, agentId);
  return bridge !== null && bridge !== bridgeId;
}

/**
 * An agent has said which sessions live on it. Open rows it should have named and did not are lost (B).
 * @returns the open rows of those it named, and the ids of those that were lost
 */
export async function reconcileTerminals(
  deps: DomainDeps,
  connection: { agentId: string; epoch: number },
  alive: readonly string[],
): Promise<{ living: TerminalSessionRow[]; lostIds: string[] }> {
  const { agentId } = connection;
  const named = new Set(alive);
  return transact(deps, async (unit) => {
    const rows = await listTerminalsToReconcile(unit.trx, connection, alive);
    const lostIds = rows.map(({ id }) => id).filter((id) => !named.has(id));
    for (const id of lostIds) await settleTerminal(unit, { id, agentId }, lost);
    return { living: rows.filter(({ id }) => named.has(id)), lostIds };
  });
}

/** Sessions whose time is over and whose agent never came back to say so. @returns how many */
export async function endOverdueTerminals(deps: DomainDeps, limit: number): Promise<number> {
  return transact(deps, async (unit) => {
    const overdue = await listOverdueTerminals(unit.trx, TERMINAL_OVERDUE_MS, limit);
    for (const ref of overdue) await settleTerminal(unit, ref, lost);
    return overdue.length;
  });
}

export const presentTerminal = (row: TerminalSessionRow): TerminalSessionView => ({
  id: row.id,
  agentId: row.agentId,
  state: row.state,
  openedBy: { kind: row.ownerKind, id: row.ownerId, name: row.ownerName },
  address: row.address,
  shell: row.shell,
  cols: row.cols,
  rows: row.rows,
  createdAt: row.createdAt.toISOString(),
  openedAt: row.openedAt?.toISOString() ?? null,
  endsBefore: row.endsBefore.toISOString(),
  endRequestedAt: row.endRequestedAt?.toISOString() ?? null,
  endedAt: row.endedAt?.toISOString() ?? null,
  endReason: row.endReason,
  exitCode: row.exitCode,
  signal: row.signal,
  survivors: row.survivors,
  outputBytes: row.outputBytes,
  recording: row.isRecorded
    ? { bytes: row.recordingBytes, isTruncated: row.recordingTruncated, hasInput: row.recordsInput }
    : null,
});
