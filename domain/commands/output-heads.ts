/** The beginning of what commands wrote, as text for answers that are JSON. */
import type { StreamName } from '../../contracts/agent-protocol.ts';
import type { CommandView } from '../../contracts/commands.ts';
import { readOutputHeads as selectHeads } from '../../db/command-output.ts';
import type { Actor, DomainDeps } from '../deps.ts';
import { assertCan } from '../policy.ts';

export interface OutputHead {
  /** Invalid bytes are U+FFFD; a character that the cut would halve is left out. */
  text: string;
  /** The process wrote more. */
  isCut: boolean;
}

export type OutputHeads = Readonly<Record<StreamName, OutputHead>>;

/**
 * At most `maxBytes` of each stream of these commands, in their order.
 * @param commands as the actor has read them
 * @throws forbidden
 */
export async function readOutputHeads(
  deps: DomainDeps,
  actor: Actor,
  commands: readonly CommandView[],
  maxBytes: number,
): Promise<OutputHeads[]> {
  assertCan(actor.principal, 'read', 'output');
  const written = commands.filter(({ stdout, stderr }) => stdout.bytes + stderr.bytes > 0);
  const ids = written.map(({ commandId }) => commandId);
  const rows = ids.length === 0 ? [] : await selectHeads(deps.db, ids, maxBytes);
  const parts = new Map<string, Buffer[]>();
  for (const { commandId, stream, bytes } of rows) {
    const key = `${commandId} ${stream}`;
    parts.set(key, [...(parts.get(key) ?? []), bytes]);
  }
  const headOf = (command: CommandView, stream: StreamName): OutputHead => {
    const bytes = Buffer.concat(parts.get(`${command.commandId} ${stream}`) ?? []);
    const isCut = command[stream].truncated || command[stream].bytes > bytes.length;
    return { text: new TextDecoder('utf-8', { ignoreBOM: true }).decode(bytes, { stream: isCut }), isCut };
  };
  return commands.map((command) => ({
    stdout: headOf(command, 'stdout'),
    stderr: headOf(command, 'stderr'),
  }));
}
