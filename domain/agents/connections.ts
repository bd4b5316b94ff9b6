/**
 * An agent connects, is heard of, and goes. Source of the rules: the ledger's section on connections in the docs.
 *
 *  A. A hello raises the epoch under the connection row's lock; the older socket loses every further claim.
 *  B. `sent|running` rows of the hello's journal are offered again; those of another journal become `unknown`:
 *     a new or rolled-back journal can vouch for nothing.
 *  C. Only a row that is still `sent` may be started by a re-offer; a `running` one is only asked about.
 */
import type { Hello } from '../../contracts/agent-protocol.ts';
import { problem } from '../../contracts/errors.ts';
import { lockConnection, releaseConnection, takeConnection } from '../../db/agent-connections.ts';
import { type CommandWithAct, findReadableCommands, lockOpenCommands } from '../../db/commands.ts';
import { queryOne } from '../../db/database.ts';
import { logUnreadable } from '../commands/claim.ts';
import { serverEnd, settleCommands } from '../commands/settle.ts';
import type { DomainDeps } from '../deps.ts';
import { transact, type Unit } from '../transact.ts';
import { plainText } from './plain-text.ts';

export interface Connected {
  epoch: number;
  /** The journal was found rolled back: the agent must begin a new one. */
  resetJournal: boolean;
  /** Commands out on this agent whose journal it still has. */
  reoffer: CommandWithAct[];
}

/** Accept a hello. @throws agent_not_found, agent_revoked */
export async function connectAgent(
  deps: DomainDeps,
  input: { hello: Hello; bridgeId: string; address: string | null },
): Promise<Connected> {
  const { hello } = input;
  return transact(deps, async (unit) => {
    const connection = await lockConnectionOf(unit, hello.agentId);
    const rolledBack = connection.journalId === hello.journalId && hello.journalSeq < connection.journalSeq;
    const epoch = connection.epoch + 1;
    await takeConnection(unit.trx, {
      agentId: hello.agentId,
      epoch,
      journalId: hello.journalId,
      journalSeq: rolledBack ? connection.journalSeq : hello.journalSeq,
      bridgeId: input.bridgeId,
    });
    await writeHello(unit, hello);
    const out = await lockOpenCommands(unit.trx, { kind: 'agent', agentId: hello.agentId });
    const ours = out.filter((row) => !rolledBack && row.sentJournalId === hello.journalId);
    const lost = out.filter((row) => !ours.includes(row));
    await settleCommands(
      unit,
      lost.map((row) => serverEnd(row, 'unknown', 'journal_lost')),
    );
    unit.emit('agent.connected', {
      agentId: hello.agentId,
      data: { epoch, version: plainText(hello.version) },
    });
    // Another bridge may hold the older socket.
    unit.wakeAgents([hello.agentId]);
    const { commands: reoffer, unreadable } = await findReadableCommands(
      unit.trx,
      ours.map((row) => row.commandId),
    );
    logUnreadable(deps, unreadable);
    return { epoch, resetJournal: rolledBack, reoffer };
  });
}

async function lockConnectionOf(unit: Unit, agentId: string) {
  const agent = await queryOne<{ revoked: boolean }>(
    unit.trx,
    'select revoked_at is not null as revoked from agents where id = :id',
    { id: agentId },
  );
  if (agent === undefined) throw problem('agent_not_found', { agentId });
  if (agent.revoked) throw problem('agent_revoked', { agentId });
  return lockConnection(unit.trx, agentId);
}

async function writeHello(unit: Unit, hello: Hello): Promise<void> {
  await unit.trx.raw(
    `update agents set hostname = :hostname, os = :os, arch = :arch, version = :version, delivery = :delivery,
            capabilities = :capabilities, shells = :shells, default_shell = :default_shell, draining = false,
            last_seen_at = now(), updated_at = now()
     where id = :id`,
    {
      id: hello.agentId,
      hostname: plainText(hello.hostname),
      os: plainText(hello.os),
      arch: plainText(hello.arch),
      version: plainText(hello.version),
      delivery: hello.delivery,
      capabilities: hello.capabilities.map(plainText),
      shells: hello.shells.map(plainText),
      default_shell: plainText(hello.defaultShell),
    } as never,
  );
}

/** The socket at this epoch is gone. */
export async function disconnectAgent(deps: DomainDeps, agentId: string, epoch: number): Promise<void> {
  await transact(deps, async (unit) => {
    if (await releaseConnection(unit.trx, agentId, epoch))
      unit.emit('agent.disconnected', { agentId, data: { epoch } });
  });
}
