/**
 * Tells the server what it must know of each live command, and again until it has it.
 *
 * Invariant D (protocol): a result is sent when all its output is acked, and again until it is acked itself.
 */
import { type RunFrame, streamNames } from '../contracts/agent-protocol.ts';
import type { Link } from './link.ts';
import type { LiveCommand } from './live-command.ts';
import { RESEND_STALL_MS } from './outbound.ts';

/** After a welcome, commands the server did not ask about within this time announce themselves, milliseconds. */
export const ANNOUNCE_AFTER_MS = 250;

export interface Reporting {
  started(command: LiveCommand): void;
  /** Output as far as the window allows, then the result. */
  push(command: LiveCommand): void;
  /** Everything about one command, from the offsets the server names (null: from what it acked before). */
  report(command: LiveCommand, offsets: RunFrame['offsets'] | null): void;
  /** The result once more, for a server that shows that it missed it. */
  repeatResult(command: LiveCommand): void;
  /** A new socket: report soon whatever the server does not ask about by itself. */
  announce(): void;
  /** Send again what the server has not acked for RESEND_STALL_MS. */
  resendWhenStalled(command: LiveCommand, now: number): void;
  close(): void;
}

export function createReporting(deps: { link: Link; live: ReadonlyMap<string, LiveCommand> }): Reporting {
  const { link, live } = deps;
  let unannounced = new Set<string>();
  let announceTimer: NodeJS.Timeout | null = null;

  const started = (command: LiveCommand): void => {
    if (command.started === null) return;
    const { pid, startedAt } = command.started;
    link.send({ type: 'started', commandId: command.commandId, digest: command.digest, pid, startedAt });
  };
  const push = (command: LiveCommand): void => {
    const { streams, state } = command;
    if (streams !== null) for (const name of streamNames) streams[name].pump();
    if (state.kind !== 'finished' || state.sentAt !== null) return;
    if (streams !== null && !streamNames.every((name) => streams[name].isDelivered())) return;
    if (link.send(state.result)) state.sentAt = performance.now();
  };
  const repeatResult = (command: LiveCommand): void => {
    if (command.state.kind === 'finished') command.state.sentAt = null;
    push(command);
  };
  const report = (command: LiveCommand, offsets: RunFrame['offsets'] | null): void => {
    unannounced.delete(command.commandId);
    started(command);
    if (command.streams !== null) {
      for (const name of streamNames) command.streams[name].restart(offsets?.[name] ?? null);
    }
    repeatResult(command);
  };

  return {
    started,
    push,
    report,
    repeatResult,
    announce: () => {
      unannounced = new Set(live.keys());
      if (announceTimer !== null) clearTimeout(announceTimer);
      announceTimer = setTimeout(() => {
        for (const commandId of unannounced) {
          const command = live.get(commandId);
          if (command !== undefined && command.state.kind !== 'queued') report(command, null);
        }
      }, ANNOUNCE_AFTER_MS);
    },
    resendWhenStalled: (command, now) => {
      const { streams, state } = command;
      if (streams !== null) for (const name of streamNames) streams[name].resendWhenStalled(now);
      const isStalled =
        state.kind === 'finished' && state.sentAt !== null && now - state.sentAt > RESEND_STALL_MS;
      if (isStalled) repeatResult(command);
    },
    close: () => {
      if (announceTimer !== null) clearTimeout(announceTimer);
    },
  };
}
