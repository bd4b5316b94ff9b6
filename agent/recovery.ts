/**
 * What an agent does with the journal of its predecessor, before it connects.
 *
 * Invariant R: a command whose journal has no RESULT may have run, and may still run. Everything of it is killed, and
 * only then it is reported as `unknown`; it never starts again.
 */
import { existsSync, readdirSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import { streamNames } from '../contracts/agent-protocol.ts';
import type { Commands } from './commands.ts';
import type { Executor } from './executor.ts';
import type { Journal, JournalEntry, ResultFrame } from './journal.ts';
import {
  type LiveCommand,
  restoredSummary,
  restoreStreams,
  resultOf,
  type StreamDeps,
  spoolPath,
} from './live-command.ts';
import type { AgentLog } from './log.ts';
import { readBootId } from './proc.ts';

export interface RecoveryDeps {
  journal: Journal;
  executor: Executor;
  commands: Commands;
  streams: StreamDeps;
  log: AgentLog;
}

/** Take over every command the server has not acked. Resolves when no process of them is left (or cannot be killed). */
export async function recoverCommands(deps: RecoveryDeps): Promise<void> {
  const open = [...deps.journal.entries()].filter((entry) => entry.phase !== 'acked');
  const recovered = await Promise.all(
    open.map((entry) =>
      entry.phase === 'finished' ? takeOverFinished(deps, entry) : endUnfinished(deps, entry),
    ),
  );
  for (const command of recovered) deps.commands.adopt(command);
  removeStraySpools(deps, new Set(recovered.map((command) => command.commandId)));
}

function takeOverFinished(
  deps: RecoveryDeps,
  entry: Extract<JournalEntry, { phase: 'finished' }>,
): LiveCommand {
  const { commandId, digest } = entry;
  const streams = restoreStreams(deps.streams, commandId, entry.output);
  const result: ResultFrame = { ...entry.result };
  for (const stream of streamNames) {
    // Neither file nor saved bytes: the server had acked all of it when the command ended.
    const isKept =
      existsSync(spoolPath(deps.streams.spoolDirectory, commandId, stream)) ||
      entry.output?.[stream] !== undefined;
    if (isKept) result[stream] = restoredSummary(result[stream], streams[stream].spool.summary());
  }
  return { commandId, digest, streams, started: null, state: { kind: 'finished', result, sentAt: null } };
}

async function endUnfinished(
  deps: RecoveryDeps,
  entry: Extract<JournalEntry, { phase: 'intent' | 'started' }>,
): Promise<LiveCommand> {
  const { commandId, digest } = entry;
  const start = entry.phase === 'started' ? entry.start : null;
  // A pid of an earlier boot names a stranger.
  const isSameBoot = start !== null && start.bootId === readBootId();
  const survivors = await deps.executor.killLeftovers(
    commandId,
    isSameBoot ? start.pid : null,
    isSameBoot ? start.processStart : null,
  );
  const streams = restoreStreams(deps.streams, commandId, null);
  const result = resultOf(
    { commandId, digest, streams },
    {
      outcome: 'unknown',
      reason:
        survivors > 0 ? `agent_restarted; ${survivors} process(es) survived the kill` : 'agent_restarted',
      startedAt: start?.startedAt ?? null,
    },
  );
  deps.journal.finished(result, null);
  deps.log.warn('command_unknown', { commandId, phase: entry.phase, survivors });
  return {
    commandId,
    digest,
    streams,
    started: start === null ? null : { pid: start.pid, startedAt: start.startedAt },
    state: { kind: 'finished', result, sentAt: null },
  };
}

function removeStraySpools(deps: RecoveryDeps, kept: ReadonlySet<string>): void {
  for (const name of readdirSync(deps.streams.spoolDirectory)) {
    if (!kept.has(name.slice(0, name.lastIndexOf('.')))) unlinkSync(join(deps.streams.spoolDirectory, name));
  }
}
