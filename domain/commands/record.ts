/**
 * Record what agents reported: one transaction for a set of frames of many commands and agents.
 *
 *  C. A chunk is taken only at the stream's next offset; otherwise the ack names the offset expected.
 *  D. A result is taken only when all the bytes it speaks of are stored; before, the agent is asked for them.
 *  E. A frame counts only from the agent and the journal the command was sent to. Evidence for a final command is
 *     acked and ignored, except once for `unknown`.
 */
import {
  type AgentOutcome,
  NO_DIGEST,
  type StreamName,
  type StreamSummary,
} from '../../contracts/agent-protocol.ts';
import { isFinalCommandState } from '../../contracts/command-states.ts';
import { type CommandChange, lockCommands } from '../../db/command-changes.ts';
import { insertOutput, type OutputChunk } from '../../db/command-output.ts';
import type { CommandRow, StreamState } from '../../db/commands.ts';
import { plainText } from '../agents/plain-text.ts';
import type { DomainDeps } from '../deps.ts';
import { transact } from '../transact.ts';
import { recordUsual } from './record-usual.ts';
import type { FrameOf, Report } from './report.ts';
import { edgeAllowed, type Settlement, settleCommands, unchanged } from './settle.ts';

/** What to tell the agents after the commit. */
export type Ack =
  | { agentId: string; kind: 'output'; commandId: string; stream: StreamName; nextOffset: number }
  | { agentId: string; kind: 'result'; commandId: string };

/** Store the reports, in their order per command. Returns the acks to send after the commit. */
export async function recordReports(deps: DomainDeps, reports: readonly Report[]): Promise<Ack[]> {
  const done = await recordUsual(deps, reports);
  const acks: Ack[] = [];
  const others: Report[] = [];
  for (const report of reports) {
    const { commandId, type } = report.frame;
    if (!done.has(commandId)) others.push(report);
    else if (type === 'result') acks.push({ agentId: report.agentId, kind: 'result', commandId });
  }
  return others.length === 0 ? acks : [...acks, ...(await recordAny(deps, others))];
}

/** The general way: lock the rows, look at them, write what follows. */
async function recordAny(deps: DomainDeps, reports: readonly Report[]): Promise<Ack[]> {
  const withOutput = new Set<string>();
  const acks = await transact(deps, async (unit) => {
    const rows = await lockCommands(unit.trx, [...new Set(reports.map((report) => report.frame.commandId))]);
    const drafts = new Map(rows.map((row) => [row.commandId, createDraft(row)]));
    const chunks: OutputChunk[] = [];
    const answers: Ack[] = [];
    for (const report of reports) {
      const draft = drafts.get(report.frame.commandId);
      // A command this server never had: ack, so that the agent stops resending.
      if (draft === undefined || draft.row.agentId !== report.agentId) {
        answers.push(...dismiss(report));
        continue;
      }
      answers.push(...apply(draft, report, chunks));
    }
    for (const chunk of chunks) withOutput.add(chunk.commandId);
    await insertOutput(unit.trx, chunks);
    await settleCommands(
      unit,
      [...drafts.values()]
        .filter((draft) => draft.touched)
        .map(({ row, change }): Settlement => ({ row, change })),
    );
    return answers;
  });
  if (withOutput.size > 0) deps.announce.output([...withOutput]);
  return latestAcks(acks);
}

interface Draft {
  row: CommandRow;
  change: CommandChange;
  touched: boolean;
}

const createDraft = (row: CommandRow): Draft => ({ row, change: unchanged(row), touched: false });

function apply(draft: Draft, report: Report, chunks: OutputChunk[]): Ack[] {
  const { frame } = report;
  const { row } = draft;
  const ours = row.sentJournalId === report.journalId;
  switch (frame.type) {
    case 'started':
      if (ours && frame.digest === row.digest && edgeAllowed(draft.change.state, 'running', 'agent')) {
        draft.change = { ...draft.change, state: 'running', startedNow: true };
        draft.touched = true;
      }
      return [];
    case 'output':
      return [takeOutput(draft, report, frame, ours, chunks)];
    case 'result':
      return takeResult(draft, report, frame, ours);
    case 'notKnown':
      // A journal that had started it has lost it: as a foreign journal (edge running → unknown, server). What is only
      // sent was never started there (a draining agent says so): the next hello offers it again.
      if (ours && draft.change.state === 'running') endWith(draft, 'unknown', 'journal_lost', null);
      return [];
  }
}

/** Output still counts for `unknown` commands until they are resolved: it is evidence. */
const takesOutput = (draft: Draft): boolean =>
  !isFinalCommandState(draft.change.state) ||
  (draft.change.state === 'unknown' && draft.row.resolvedAt === null);

function takeOutput(
  draft: Draft,
  report: Report,
  frame: FrameOf<'output'>,
  ours: boolean,
  chunks: OutputChunk[],
): Ack {
  const state = draft.change[frame.stream];
  const ack = (nextOffset: number): Ack => ({
    agentId: report.agentId,
    kind: 'output',
    commandId: frame.commandId,
    stream: frame.stream,
    nextOffset,
  });
  const bytes = Buffer.from(frame.bytes, 'base64');
  const end = frame.offset + bytes.length;
  // Nothing to learn from it: pretend it is stored, so that the agent goes on to its result.
  if (!ours || !takesOutput(draft)) return ack(Math.max(end, state.bytes));
  const isFull = state.bytes >= draft.row.outputCapBytes;
  // Above the cap nothing is kept, whatever the offset: an agent that ignores the cap is led to its end.
  if (isFull && (bytes.length === 0 || end <= state.totalBytes)) return ack(Math.max(end, state.bytes));
  if (!isFull && (frame.offset !== state.bytes || bytes.length === 0)) return ack(state.bytes);
  const kept = bytes.subarray(0, Math.max(0, draft.row.outputCapBytes - state.bytes));
  if (kept.length > 0) {
    chunks.push({ commandId: frame.commandId, stream: frame.stream, offset: state.bytes, bytes: kept });
  }
  const next: StreamState = {
    ...state,
    bytes: state.bytes + kept.length,
    totalBytes: end,
    // Said now: whoever is lost on the way to its end says nothing more.
    truncated: end > state.bytes + kept.length,
  };
  draft.change = { ...draft.change, [frame.stream]: next };
  draft.touched = true;
  return ack(end);
}

function takeResult(draft: Draft, report: Report, frame: FrameOf<'result'>, ours: boolean): Ack[] {
  const { row } = draft;
  const resultAck: Ack = { agentId: report.agentId, kind: 'result', commandId: frame.commandId };
  const late = draft.change.state === 'unknown' && row.resolvedAt === null && draft.change.final === null;
  if (!ours || (isFinalCommandState(draft.change.state) && !late)) return [resultAck];
  // A tombstone: the agent heard of it first by the cancel, and never saw the act.
  const isTombstone =
    frame.digest === NO_DIGEST &&
    frame.outcome === 'canceled' &&
    row.cancelRequestedAt !== null &&
    draft.change.state !== 'running';
  if (frame.digest !== row.digest && !isTombstone) {
    // Something else was known there under this id. A refusal is believed; of anything else we cannot say that it was
    // this command, nor that it was not (promise P3).
    const refused = frame.outcome === 'rejected' && edgeAllowed(draft.change.state, 'rejected', 'agent');
    if (refused && !late) endWith(draft, 'rejected', 'digest_mismatch', null);
    else if (edgeAllowed(draft.change.state, 'unknown', 'server'))
      endWith(draft, 'unknown', 'digest_mismatch', null);
    return [resultAck];
  }
  const missing = (['stdout', 'stderr'] as const).filter(
    (stream) => draft.change[stream].bytes < Math.min(frame[stream].bytes, row.outputCapBytes),
  );
  if (missing.length > 0) {
    return missing.map((stream) => ({
      agentId: report.agentId,
      kind: 'output',
      commandId: frame.commandId,
      stream,
      nextOffset: draft.change[stream].bytes,
    }));
  }
  const outcome = outcomeOf(draft, frame.outcome);
  if (outcome === undefined) return [resultAck];
  endWith(draft, outcome, frame.reason === null ? null : plainText(frame.reason), frame);
  return [resultAck];
}

/** The state to write for what the agent says, or undefined when the edge table has no such edge. */
function outcomeOf(draft: Draft, outcome: AgentOutcome): AgentOutcome | undefined {
  const from = draft.change.state;
  if (outcome === 'unknown') return edgeAllowed(from, 'unknown', 'server') ? 'unknown' : undefined;
  return edgeAllowed(from, outcome, 'agent') ? outcome : undefined;
}

function endWith(
  draft: Draft,
  state: AgentOutcome,
  reason: string | null,
  frame: FrameOf<'result'> | null,
): void {
  const merged = (stored: StreamState, said: StreamSummary | undefined): StreamState =>
    said === undefined
      ? stored
      : {
          bytes: stored.bytes,
          totalBytes: Math.max(said.totalBytes, stored.bytes),
          // A hash of other bytes than those stored would mislead: keep it only when the lengths agree.
          sha256: said.bytes === stored.bytes ? said.sha256 : null,
          truncated: said.truncated || said.totalBytes > stored.bytes,
        };
  draft.change = {
    ...draft.change,
    state,
    final: {
      exitCode: frame?.exitCode ?? null,
      signal: frame?.signal ? plainText(frame.signal) : null,
      reason,
      durationMs: frame?.durationMs ?? null,
      resolved: draft.change.state === 'unknown',
    },
    stdout: merged(draft.change.stdout, frame?.stdout),
    stderr: merged(draft.change.stderr, frame?.stderr),
  };
  draft.touched = true;
}

function dismiss({ agentId, frame }: Report): Ack[] {
  if (frame.type === 'result') return [{ agentId, kind: 'result', commandId: frame.commandId }];
  if (frame.type !== 'output') return [];
  const nextOffset = frame.offset + Buffer.byteLength(frame.bytes, 'base64');
  return [{ agentId, kind: 'output', commandId: frame.commandId, stream: frame.stream, nextOffset }];
}

/** Of several acks for one stream only the last says anything new. */
function latestAcks(acks: readonly Ack[]): Ack[] {
  const latest = new Map<string, Ack>();
  for (const ack of acks) {
    const key = `${ack.agentId} ${ack.commandId} ${ack.kind === 'output' ? ack.stream : 'result'}`;
    latest.delete(key);
    latest.set(key, ack);
  }
  return [...latest.values()];
}
