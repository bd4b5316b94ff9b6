/** Read the ledger: one command, a batch, lists, output bytes. */
import { type Act, adHocBinding } from '../../contracts/act.ts';
import type { StreamName } from '../../contracts/agent-protocol.ts';
import { isFinalCommandState } from '../../contracts/command-states.ts';
import type { BatchView, CommandListQuery, CommandView } from '../../contracts/commands.ts';
import { problem } from '../../contracts/errors.ts';
import type { Page } from '../../contracts/shared.ts';
import { type BatchRow, findBatch } from '../../db/batches.ts';
import { readOutput } from '../../db/command-output.ts';
import { type CommandWithAct, findCommand, listBatchCommands, listCommands } from '../../db/commands.ts';
import { pageOfRows, uuidPositionOf } from '../cursor.ts';
import type { Actor, DomainDeps, FinishedBatch } from '../deps.ts';
import { assertCan, can, visibleOwner } from '../policy.ts';
import { toCommandView } from './view.ts';

/** The row of a command the actor may read. Not there and not visible are the same answer. @throws command_not_found */
export async function getCommandRow(
  deps: DomainDeps,
  actor: Actor,
  commandId: string,
): Promise<CommandWithAct> {
  assertCan(actor.principal, 'read', 'command');
  const row = await findCommand(deps.db, commandId);
  if (row === undefined || !can(actor.principal, 'read', 'command', row.ownerId)) {
    throw problem('command_not_found', { commandId });
  }
  return row;
}

export async function getCommand(deps: DomainDeps, actor: Actor, commandId: string): Promise<CommandView> {
  return toCommandView(await getCommandRow(deps, actor, commandId));
}

/** A batch whose commands the actor may read, and their owner. @throws not_found (not there, or not visible) */
export async function getBatchRow(
  deps: DomainDeps,
  actor: Actor,
  batchId: string,
): Promise<{ batch: BatchRow; ownerId: string }> {
  assertCan(actor.principal, 'read', 'command');
  const batch = await findBatch(deps.db, batchId);
  const [first] = batch === undefined ? [] : await listCommands(deps.db, { batchId, limit: 1 });
  if (batch === undefined || first === undefined || !can(actor.principal, 'read', 'command', first.ownerId)) {
    throw problem('not_found');
  }
  return { batch, ownerId: first.ownerId };
}

/** A batch with its commands. @throws not_found */
export async function getBatch(deps: DomainDeps, actor: Actor, batchId: string): Promise<BatchView> {
  assertCan(actor.principal, 'read', 'command');
  const [batch, commands] = await Promise.all([
    findBatch(deps.db, batchId),
    listBatchCommands(deps.db, batchId),
  ]);
  return batchView(actor, batch, commands);
}

/** As `getBatch`, of an ad-hoc batch whose rows and act the caller has at hand. @throws not_found */
export function viewFinishedBatch(actor: Actor, { batch, commands }: FinishedBatch, act: Act): BatchView {
  assertCan(actor.principal, 'read', 'command');
  const rows = commands.map((command) => ({ ...command, act, binding: adHocBinding }));
  rows.sort((a, b) => (a.agentId < b.agentId ? -1 : 1));
  return batchView(actor, batch, rows);
}

function batchView(
  actor: Actor,
  batch: BatchRow | undefined,
  commands: readonly CommandWithAct[],
): BatchView {
  const [first] = commands;
  if (batch === undefined || first === undefined || !can(actor.principal, 'read', 'command', first.ownerId)) {
    throw problem('not_found');
  }
  return {
    batchId: batch.id,
    size: batch.size,
    pending: batch.pending,
    finishedAt: batch.finishedAt?.toISOString() ?? null,
    commands: commands.map(toCommandView),
  };
}

/** True when every command of the batch is final. */
export async function isBatchFinished(deps: DomainDeps, batchId: string): Promise<boolean> {
  return (await findBatch(deps.db, batchId))?.pending === 0;
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
    before: uuidPositionOf(filter.cursor),
    limit: filter.limit + 1,
  });
  const page = pageOfRows(rows, filter.limit, (row) => ({ at: row.createdAt, id: row.commandId }));
  return { items: page.items.map(toCommandView), nextCursor: page.nextCursor };
}

/** Most bytes of output that are in memory at once for one reader. */
export const OUTPUT_PART_BYTES = 256 * 1024;

export interface OutputRange {
  /** The bytes, in parts. Fails when some of them have been deleted meanwhile. */
  parts: AsyncIterable<Buffer>;
  /** Offset of the first byte, and of the byte after the last. */
  offset: number;
  nextOffset: number;
  /** Bytes stored of this stream when it was asked. */
  storedBytes: number;
  /** True when the command is final: no more bytes will come, but for late evidence of an `unknown` one. */
  complete: boolean;
  /** The process wrote more than was kept. */
  truncated: boolean;
}

/**
 * Stored output of one stream from `offset` on, at most `limit` bytes. Stored bytes never change, so what is promised
 * here is what the parts hold.
 * @throws forbidden, command_not_found
 */
export async function readOutputRange(
  deps: DomainDeps,
  actor: Actor,
  commandId: string,
  range: { stream: StreamName; offset: number; limit?: number | undefined },
): Promise<OutputRange> {
  assertCan(actor.principal, 'read', 'output');
  const row = await getCommandRow(deps, actor, commandId);
  const { bytes: storedBytes, truncated } = row[range.stream];
  const end = Math.min(storedBytes, range.offset + (range.limit ?? storedBytes));
  const nextOffset = Math.max(range.offset, end);
  return {
    parts: outputParts(deps, commandId, range.stream, range.offset, nextOffset),
    offset: range.offset,
    nextOffset,
    storedBytes,
    complete: isFinalCommandState(row.state),
    truncated,
  };
}

/** Stored bytes from `start` to `end`, in parts of at most `partBytes`. */
export async function* outputParts(
  deps: Pick<DomainDeps, 'db'>,
  commandId: string,
  stream: StreamName,
  start: number,
  end: number,
  partBytes = OUTPUT_PART_BYTES,
): AsyncGenerator<Buffer> {
  for (let offset = start; offset < end; ) {
    const wanted = Math.min(partBytes, end - offset);
    const part = await readOutput(deps.db, commandId, stream, offset, wanted);
    if (part.length === 0) throw new Error(`output of command ${commandId} ends before ${end}`);
    yield part;
    offset += part.length;
  }
}
