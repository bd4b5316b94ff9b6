/** How dex's routes run commands: what they ask for becomes an act, and those that answer with an outcome wait for it. */
import type { ActRequest, CommandView } from '../../../contracts/commands.ts';
import { problem } from '../../../contracts/errors.ts';
import type { DexCommandBody } from '../../../contracts/families/dex/commands.ts';
import { powershells } from '../../../domain/commands/agents.ts';
import type { InsertedBatch } from '../../../domain/commands/insert.ts';
import { type OutputHeads, readOutputHeads } from '../../../domain/commands/output-heads.ts';
import { getBatch, isBatchFinished, viewFinishedBatch } from '../../../domain/commands/read.ts';
import { runCommands } from '../../../domain/commands/run.ts';
import type { Actor, DomainDeps } from '../../../domain/deps.ts';
import { watchBatches } from '../../events/batches.ts';
import type { Hub } from '../../events/hub.ts';
import { inOtherWords } from '../in-other-words.ts';

/** How much longer than a command may run its outcome is waited for, milliseconds. */
const GRACE_MS = 5_000;
/** Shortest time a command may wait to be started, milliseconds. */
const MIN_EXPIRY_MS = 1_000;

/** Most of a stream in an answer about one command, bytes. */
export const MAX_SHOWN_BYTES = 1024 * 1024;

export type RunDeps = DomainDeps & { hub: Hub };
/** The part of a request that running needs. */
export type RunRequest = Actor & { signal: AbortSignal; idempotencyKey: string | null };

export function actOf(deps: DomainDeps, body: DexCommandBody, isQueueing: boolean): ActRequest {
  const timeoutMs =
    body.timeout == null ? deps.limits.defaultTimeoutMs : Math.max(100, Math.round(body.timeout * 1000));
  return {
    command: body.command,
    timeoutMs,
    workingDirectory: body.working_directory || undefined,
    elevated: body.run_as_admin ?? false,
    // Whoever was told that it was sent does not expect it to start long after.
    ...(isQueueing ? {} : { expiryMs: Math.max(MIN_EXPIRY_MS, timeoutMs) }),
  };
}

/** @throws as runCommands; agent_not_connected unless `isQueueing` */
export const runOnAgent = (
  deps: DomainDeps,
  request: RunRequest,
  agentId: string,
  { body, isQueueing }: { body: DexCommandBody; isQueueing: boolean },
): Promise<InsertedBatch> =>
  inDexWords(() =>
    runCommands(
      deps,
      request,
      { agentIds: [agentId], act: actOf(deps, body, isQueueing) },
      request.idempotencyKey,
      { preferredShells: powershells, onlyConnected: !isQueueing },
    ),
  );

/** The one command of each batch that `run` makes, as it is when all have ended or the longest may have run. */
export async function runToEnd(
  deps: RunDeps,
  request: RunRequest,
  bodies: readonly DexCommandBody[],
  run: () => Promise<readonly InsertedBatch[]>,
): Promise<CommandView[]> {
  const longest = Math.max(0, ...bodies.map((body) => actOf(deps, body, false).timeoutMs ?? 0));
  // Listens before anything can finish, so that a batch of our own needs no first look.
  const watch = watchBatches(deps.hub);
  try {
    const made = await run();
    return await Promise.all(
      made.map(async ({ batchId, act, created }) => {
        await watch.wait(batchId, {
          isNew: created,
          read: () => isBatchFinished(deps, batchId),
          timeoutMs: longest + GRACE_MS,
          signal: request.signal,
        });
        const rows = watch.rowsOf(batchId);
        const batch =
          rows === undefined || act === undefined
            ? await getBatch(deps, request, batchId)
            : viewFinishedBatch(request, rows, act);
        return onlyCommand(batch.commands);
      }),
    );
  } finally {
    watch.stop();
  }
}

/** @throws not_found */
export function onlyCommand(commands: readonly CommandView[]): CommandView {
  const [command] = commands;
  if (command === undefined) throw problem('not_found');
  return command;
}

/** The beginning of what a command wrote, for an answer about it alone. */
export async function headsOf(deps: DomainDeps, actor: Actor, command: CommandView): Promise<OutputHeads> {
  const [heads] = await readOutputHeads(deps, actor, [command], MAX_SHOWN_BYTES);
  if (heads === undefined) throw problem('not_found');
  return heads;
}

const wordOf: Readonly<Record<string, string>> = {
  timeoutMs: 'timeout',
  expiryMs: 'timeout',
  workingDirectory: 'working_directory',
  elevated: 'run_as_admin',
};

/** Complaints about the act point to where this family's bodies have it; `skipIndex` where one act is no list. */
export const inDexWords = <T>(run: () => Promise<T>, { skipIndex = false } = {}): Promise<T> =>
  inOtherWords(wordOf, (path) => path.slice(skipIndex ? 1 : 0).filter((part) => part !== 'act'), run);
