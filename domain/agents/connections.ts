/**
 * An agent connects, is heard of, and goes. Source of the rules: the ledger's section on connections in the docs.
 *
 *  A. A hello raises the epoch under the connection row's lock; the older socket loses every further claim.
 *  B. `sent|running` rows of the hello's journal are offered again; those of another journal become `unknown`:
 *     a new or rolled-back journal can vouch for nothing.
 *  C. Only a row that is still `sent` may be started by a re-offer; a `running` one is only asked about.
 *  D. A journal that is shorter than it was, or another one while the older connection lives, is the sign of a copied
 *     machine: that is told, and the connection goes on.
 */
import type { Hello } from '../../contracts/agent-protocol.ts';
import { updateAgentFromHello } from '../../db/agent-changes.ts';
import { lockConnection, releaseConnection, takeConnection } from '../../db/agent-connections.ts';
import { lockOpenCommands } from '../../db/command-changes.ts';
import { type CommandWithAct, findReadableCommands } from '../../db/commands.ts';
import { getBatchAgents } from '../commands/agents.ts';
import { logUnreadable } from '../commands/claim.ts';
import { serverEnd, settleCommands } from '../commands/settle.ts';
import type { DomainDeps } from '../deps.ts';
import { transact } from '../transact.ts';
import { plainText } from './plain-text.ts';

export interface Connected {
  epoch: number;
  /** The journal was found rolled back: the agent must begin a new one. */
  resetJournal: boolean;
  /** An operator wants it to take nothing new. */
  isHeld: boolean;
  /** Commands out on this agent whose journal it still has. */
  reoffer: CommandWithAct[];
}

/** Accept a hello. @throws agent_not_found, agent_revoked */
export async function connectAgent(
  deps: DomainDeps,
  input: {
    hello: Hello;
    bridgeId: string;
    address: string | null;
    /** Id of the agent's own token that it came with; absent when it was another credential. */
    tokenId?: string | undefined;
    /** False: the hello's journal is a new one each time and tells nothing of copies. Default true. */
    keepsJournal?: boolean | undefined;
  },
): Promise<Connected> {
  const { hello } = input;
  return transact(deps, async (unit) => {
    await getBatchAgents(unit.trx, [hello.agentId]);
    const connection = await lockConnection(unit.trx, hello.agentId);
    const rolledBack = connection.journalId === hello.journalId && hello.journalSeq < connection.journalSeq;
    const isOtherJournal =
      input.keepsJournal !== false &&
      connection.bridgeId !== null &&
      connection.journalId !== null &&
      connection.journalId !== hello.journalId;
    const isCloneSuspected = (rolledBack || isOtherJournal) && !connection.isCloneTold;
    const epoch = connection.epoch + 1;
    await takeConnection(unit.trx, {
      agentId: hello.agentId,
      epoch,
      journalId: hello.journalId,
      journalSeq: rolledBack ? connection.journalSeq : hello.journalSeq,
      bridgeId: input.bridgeId,
      tokenId: input.tokenId ?? null,
      isCloneSuspected,
    });
    const { wasOnline, isHeld } = await updateAgentFromHello(unit.trx, plainHello(hello), input.address);
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
    if (!wasOnline) unit.emit('agent.online', { agentId: hello.agentId, data: {} });
    if (isCloneSuspected) {
      const reason = rolledBack ? 'journal_rolled_back' : 'other_journal';
      unit.emit('agent.clone_suspected', { agentId: hello.agentId, data: { reason } });
    }
    // Another bridge may hold the older socket.
    unit.wakeAgents([hello.agentId]);
    const { commands: reoffer, unreadable } = await findReadableCommands(
      unit.trx,
      ours.map((row) => row.commandId),
    );
    logUnreadable(deps, unreadable);
    return { epoch, resetJournal: rolledBack, isHeld, reoffer };
  });
}

/** The hello with its texts as a text column can hold them. */
const plainHello = (hello: Hello): Hello => ({
  ...hello,
  hostname: plainText(hello.hostname),
  os: plainText(hello.os),
  arch: plainText(hello.arch),
  version: plainText(hello.version),
  capabilities: hello.capabilities.map(plainText),
  shells: hello.shells.map(plainText),
  defaultShell: plainText(hello.defaultShell),
});

/** The socket at this epoch is gone. */
export async function disconnectAgent(deps: DomainDeps, agentId: string, epoch: number): Promise<void> {
  await transact(deps, async (unit) => {
    if (await releaseConnection(unit.trx, agentId, epoch))
      unit.emit('agent.disconnected', { agentId, data: { epoch } });
  });
}
