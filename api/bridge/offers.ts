/**
 * Hand commands that are committed as `sent` to the socket of their agent (invariant A of agent-socket.ts).
 *
 *  F. An act that has not its digest any more is not sent (promise P5): it stays `sent` and ends as `unknown`.
 *  G. A slow peer gets its commands slowly and holds up nobody else.
 */
import type { AgentFrame } from '../../contracts/agent-protocol.ts';
import { type CommandWithAct, findCommand } from '../../db/commands.ts';
import { claimQueued } from '../../domain/commands/claim.ts';
import type { DomainDeps, Log } from '../../domain/deps.ts';
import type { AgentSocket } from './agent-socket.ts';
import { runFrameOf } from './registry.ts';

type ClaimFrame = Extract<AgentFrame, { type: 'claim' }>;

export interface Offers {
  /** Send the commands one after the other, as the peer reads them. Those left at its end wait for the next hello. */
  offerAll(socket: AgentSocket, commands: readonly CommandWithAct[]): Promise<void>;
  /** Temporal delivery: the agent asks for one command; the same claim decides. */
  claim(socket: AgentSocket, frame: ClaimFrame): Promise<void>;
}

export function createOffers({ domain, log }: { domain: DomainDeps; log: Log }): Offers {
  const offer = (socket: AgentSocket, command: CommandWithAct): void => {
    const frame = runFrameOf(command);
    if (frame === undefined) {
      log.error({ event: 'act_digest_mismatch', commandId: command.commandId, agentId: command.agentId });
      return;
    }
    const { commandId, state, cancelRequestedAt, cancelReason } = command;
    // Not known to have started and not wanted any more: the cancel alone, so that it never starts (tombstone).
    if (cancelRequestedAt === null || state !== 'sent') socket.send(frame);
    if (cancelRequestedAt !== null)
      socket.send({ type: 'cancel', commandId, reason: cancelReason ?? 'canceled' });
  };

  const offerAll = async (socket: AgentSocket, commands: readonly CommandWithAct[]): Promise<void> => {
    for (const command of commands) {
      await socket.drained();
      if (socket.live() === undefined) return; // The next hello finds them as sent.
      offer(socket, command);
    }
  };

  const claim = async (socket: AgentSocket, frame: ClaimFrame): Promise<void> => {
    const { commandId } = frame;
    const live = socket.live();
    if (live === undefined) return;
    const before = await findCommand(domain.db, commandId);
    const isTheirs = before?.agentId === socket.agentId && before.digest === frame.digest;
    if (isTheirs && before.state === 'queued') {
      const [command] = await claimQueued(
        domain,
        [{ agentId: socket.agentId, epoch: live.epoch }],
        commandId,
      );
      if (command !== undefined) return offer(socket, command);
    }
    const row = isTheirs ? await findCommand(domain.db, commandId) : undefined;
    const isOut = row?.state === 'sent' || row?.state === 'running';
    // Sent to this very journal before (a lost frame, a retried activity): offer it again, the journal decides.
    if (row !== undefined && isOut && row.sentJournalId === live.hello.journalId) {
      offer(socket, row);
      if (row.cancelRequestedAt === null || row.state !== 'sent') return; // Else no run frame answers the claim.
    }
    socket.send({
      type: 'claimRefused',
      commandId,
      state: row?.state ?? 'unknown',
      reason: 'not claimable by this agent now',
    });
  };

  return { offerAll, claim };
}
