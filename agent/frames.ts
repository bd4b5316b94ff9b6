/**
 * Which part of the agent handles which frame of the server.
 */
import { commandIdSchema, type ServerFrame } from '../contracts/agent-protocol.ts';
import type { Claims } from './claims.ts';
import type { Commands } from './commands.ts';
import type { AgentLog } from './log.ts';
import type { PresenceLoop } from './presence-loop.ts';
import type { Terminals } from './terminals.ts';

/** Handle one frame. */
export function dispatchFrame(
  frame: Exclude<ServerFrame, { type: 'welcome' }>,
  to: {
    commands: Commands;
    claims: Claims;
    presence: Pick<PresenceLoop, 'report'>;
    terminals: Terminals;
    log: AgentLog;
  },
): void {
  const { commands, claims, presence, terminals, log } = to;
  switch (frame.type) {
    case 'run':
      commands.run(frame);
      return claims.arrived(frame.commandId);
    case 'cancel':
      return commands.cancel(frame.commandId, frame.reason);
    case 'outputAck':
      return commands.outputAck(frame.commandId, frame.stream, frame.nextOffset);
    case 'resultAck':
      return commands.resultAck(frame.commandId);
    case 'presenceRequest':
      return presence.report();
    case 'claimRefused':
      return claims.refused(frame.commandId, frame.state);
    case 'terminal.open':
    case 'terminal.attach':
    case 'terminal.detach':
    case 'terminal.resize':
    case 'terminal.ack':
    case 'terminal.close':
    case 'terminal.closedAck':
      return terminals.receive(frame);
    case 'error':
      return log.warn('server_error', { code: frame.code, message: frame.message });
  }
}

/** A run frame whose act this version cannot read never ran: say so, rather than let it wait for its expiry. */
export function refuseMalformed(text: string, commands: Commands): void {
  try {
    const { type: frameType, commandId, digest, resume } = JSON.parse(text);
    const isDigest = typeof digest === 'string' && /^[0-9a-f]{64}$/.test(digest);
    if (frameType !== 'run' || resume === true || !isDigest) return;
    if (commandIdSchema.safeParse(commandId).success) commands.refuse(commandId, digest, 'malformed_act');
  } catch {
    // Not JSON: nothing to name.
  }
}
