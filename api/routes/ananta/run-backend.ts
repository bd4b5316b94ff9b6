/** A prompt as a command on the server's own machine: run through the ledger, waited for by its events. */

import type { CliName } from '../../../contracts/agent-protocol.ts';
import { type CommandState, isFinalCommandState } from '../../../contracts/command-states.ts';
import { problem } from '../../../contracts/errors.ts';
import { readOutputHeads } from '../../../domain/commands/output-heads.ts';
import { getBatch, isBatchFinished } from '../../../domain/commands/read.ts';
import { type LocalAgentDeps, runOnServer } from '../../../domain/commands/run-local.ts';
import type { Actor } from '../../../domain/deps.ts';
import { cliBackends } from '../../../domain/sgpt/backends.ts';
import { watchBatches } from '../../events/batches.ts';
import type { Hub } from '../../events/hub.ts';
import { inAnantaWords } from './step-wishes.ts';

/** How long a program may take, milliseconds; never more than MAX_TIMEOUT. */
const BACKEND_TIMEOUT_MS = 120_000;
/** How much longer than the program may run its outcome is waited for, milliseconds. */
const GRACE_MS = 5_000;
/** Of each stream, bytes. */
const MAX_ANSWER_BYTES = 1024 * 1024;

export interface BackendRun {
  commandId: string;
  state: CommandState;
  exitCode: number | null;
  output: string;
  errors: string;
  isCut: boolean;
}

/** @throws forbidden, local_agent_unavailable, validation_failed, idempotency_conflict, execution_pending */
export async function runBackend(
  deps: LocalAgentDeps & { hub: Hub },
  request: Actor & { signal: AbortSignal; idempotencyKey: string | null },
  name: CliName,
  wish: { prompt: string; options: readonly string[]; model: string | null },
): Promise<BackendRun> {
  const timeoutMs = Math.min(BACKEND_TIMEOUT_MS, deps.limits.maxTimeoutMs);
  const act = {
    ...cliBackends[name].act(wish.prompt, wish.options, wish.model),
    timeoutMs,
    // Whoever waits for it does not expect it to start long after.
    expiryMs: timeoutMs,
  };
  const watch = watchBatches(deps.hub);
  try {
    const [batch] = await inAnantaWords(() => runOnServer(deps, request, [act], request.idempotencyKey));
    if (batch === undefined) throw problem('not_found');
    await watch.wait(batch.batchId, {
      isNew: batch.created,
      read: () => isBatchFinished(deps, batch.batchId),
      timeoutMs: timeoutMs + GRACE_MS,
      signal: request.signal,
    });
    const { commands } = await getBatch(deps, request, batch.batchId);
    const [command] = commands;
    if (command === undefined) throw problem('not_found');
    const { commandId, state, exitCode } = command;
    if (!isFinalCommandState(state))
      throw problem('execution_pending', { commandId }, { details: { command_id: commandId } });
    const [heads] = await readOutputHeads(deps, request, [command], MAX_ANSWER_BYTES);
    return {
      commandId,
      state,
      exitCode,
      output: heads?.stdout.text ?? '',
      errors: heads?.stderr.text ?? '',
      isCut: heads?.stdout.isCut === true || heads?.stderr.isCut === true,
    };
  } finally {
    watch.stop();
  }
}
