/** Read the ledger: one command, lists, output bytes. */
import type { StreamName } from '../../contracts/agent-protocol.ts';
import type { CommandListQuery, CommandView } from '../../contracts/commands.ts';
import { problem } from '../../contracts/errors.ts';
import type { Page } from '../../contracts/shared.ts';
import { readOutput } from '../../db/command-output.ts';
import { type CommandWithAct, findCommand, listCommands } from '../../db/commands.ts';
import { decodeCursor, encodeCursor } from '../cursor.ts';
import type { Actor, DomainDeps } from '../deps.ts';
import { assertCan, visibleOwner } from '../policy.ts';
import { toCommandView } from './view.ts';

/** The row of a command the actor may read. Not there and not visible are the same answer. @throws command_not_found */
export async function getCommandRow(
  deps: DomainDeps,
  actor: Actor,
  commandId: string,
): Promise<CommandWithAct> {
  assertCan(actor.principal, 'read', 'command');
  const row = await findCommand(deps.db, commandId);
  const owner = visibleOwner(actor.principal, 'command');
  if (row === undefined || (owner !== undefined && owner !== row.ownerId)) {
    throw problem('command_not_found', { commandId });
  }
  return row;
}

export async function getCommand(deps: DomainDeps, actor: Actor, commandId: string): Promise<CommandView> {
  return toCommandView(await getCommandRow(deps, actor, commandId));
}

/** Newest first. @throws forbidden, invalid_cursor */
export async function listCommandViews(
  deps: DomainDeps,
  actor: Actor,
  filter: CommandListQuery,
): Promise<Page<CommandView>> {
  assertCan(actor.principal, 'list', 'command');
  const rows = await listCommands(deps.db, {
    agentId: filter.agentId,
    taskPublicId: filter.taskId,
    batchId: filter.batchId,
    state: filter.state,
    ownerId: visibleOwner(actor.principal, 'command'),
    before: filter.cursor === undefined ? undefined : decodeCursor(filter.cursor),
    limit: filter.limit + 1,
  });
  const items = rows.slice(0, filter.limit);
  const last = items.at(-1);
  return {
    items: items.map(toCommandView),
    nextCursor: rows.length > filter.limit && last ? encodeCursor(last.createdAt, last.commandId) : null,
  };
}

export interface OutputPart {
  bytes: Buffer;
  /** Offset of the first byte of `bytes`. */
  offset: number;
  /** Bytes stored in all when this was read. */
  storedBytes: number;
  /** True when the command is final: no more bytes will come. */
  complete: boolean;
}

/** Stored output from `offset` on, at most `maxBytes`. */
export async function readCommandOutput(
  deps: DomainDeps,
  row: CommandWithAct,
  stream: StreamName,
  offset: number,
  maxBytes: number,
): Promise<OutputPart> {
  const bytes = await readOutput(deps.db, row.commandId, stream, offset, maxBytes);
  return { bytes, offset, storedBytes: row[stream].bytes, complete: row.finishedAt !== null };
}
