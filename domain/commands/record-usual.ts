/**
 * The usual way of a command: it starts, and it ends with all its output stored before. Such reports need no look at
 * the row first: one statement records them where the row is as they expect it. Everything else, and every report
 * whose row is not so, is left to the general way (record.ts).
 */
import type { AgentOutcome, StreamSummary } from '../../contracts/agent-protocol.ts';
import type { CommandChange } from '../../db/command-changes.ts';
import { recordUsualChanges, type UsualChange } from '../../db/command-reports.ts';
import type { StreamState } from '../../db/commands.ts';
import { plainText } from '../agents/plain-text.ts';
import type { DomainDeps } from '../deps.ts';
import { announce } from '../transact.ts';
import type { LedgerFrame, Report } from './report.ts';

/** Outcomes of a process: the agent may write them both from `sent` and from `running`. */
const usualOutcomes: readonly AgentOutcome[] = ['succeeded', 'failed', 'timed_out', 'canceled'];

type Started = Extract<LedgerFrame, { type: 'started' }>;
type Result = Extract<LedgerFrame, { type: 'result' }>;

/**
 * Record what is usual among the reports, and announce it.
 * @returns the ids of the commands whose reports are all dealt with
 */
export async function recordUsual(deps: DomainDeps, reports: readonly Report[]): Promise<Set<string>> {
  const changes = [...groupByCommand(reports).values()].flatMap((group) => usualChange(group) ?? []);
  if (changes.length === 0) return new Set();
  const { changed, finished, events, outbox } = await recordUsualChanges(deps.db, changes);
  if (finished.length > 0) deps.announce.batches?.(finished);
  announce(deps, { events, outbox });
  return changed;
}

function groupByCommand(reports: readonly Report[]): Map<string, Report[]> {
  const groups = new Map<string, Report[]>();
  for (const report of reports) {
    const group = groups.get(report.frame.commandId);
    if (group === undefined) groups.set(report.frame.commandId, [report]);
    else group.push(report);
  }
  return groups;
}

/** The change that a command's reports mean when nothing is out of the ordinary; undefined when something is. */
function usualChange(reports: readonly Report[]): UsualChange | undefined {
  const [first, second, ...others] = reports;
  if (first === undefined || others.length > 0) return undefined;
  const started = first.frame.type === 'started' ? first.frame : undefined;
  const last = started === undefined ? first : second;
  const result = last?.frame.type === 'result' ? last.frame : undefined;
  // Something else than these two, or they came twice or the wrong way round.
  if (reports.length !== [started, result].filter(Boolean).length) return undefined;
  if (second !== undefined && !isFromTheSame(first, second)) return undefined;
  if (result !== undefined && !usualOutcomes.includes(result.outcome)) return undefined;
  const digest = (result ?? started)?.digest;
  if (digest === undefined || (started !== undefined && started.digest !== digest)) return undefined;
  return {
    change: changeOf(first.frame.commandId, started, result),
    agentId: first.agentId,
    journalId: first.journalId,
    digest,
    from: started === undefined ? ['sent', 'running'] : ['sent'],
  };
}

const isFromTheSame = (one: Report, other: Report): boolean =>
  one.agentId === other.agentId && one.journalId === other.journalId;

function changeOf(
  commandId: string,
  started: Started | undefined,
  result: Result | undefined,
): CommandChange {
  const startedNow = started !== undefined;
  if (result === undefined) {
    return { commandId, state: 'running', startedNow, final: null, stdout: noOutput, stderr: noOutput };
  }
  return {
    commandId,
    state: result.outcome,
    startedNow,
    final: {
      exitCode: result.exitCode,
      signal: result.signal === null ? null : plainText(result.signal),
      reason: result.reason === null ? null : plainText(result.reason),
      durationMs: result.durationMs,
      resolved: false,
    },
    stdout: streamOf(result.stdout),
    stderr: streamOf(result.stderr),
  };
}

/** A command that has only started has no output stored; where it has some already, that is not usual. */
const noOutput: StreamState = { bytes: 0, totalBytes: 0, sha256: null, truncated: false };

/** The stream as it is when exactly the bytes that the agent speaks of are stored, which is the condition. */
const streamOf = (said: StreamSummary): StreamState => {
  const totalBytes = Math.max(said.totalBytes, said.bytes);
  return {
    bytes: said.bytes,
    totalBytes,
    sha256: said.sha256,
    truncated: said.truncated || totalBytes > said.bytes,
  };
};
