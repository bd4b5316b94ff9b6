/**
 * A command from its run frame until the server has stored its result.
 */
import { join } from 'node:path';
import { type Act, type StreamName, type StreamSummary, streamNames } from '../contracts/agent-protocol.ts';
import type { RunningJob } from './executor.ts';
import type { ResultFrame, SavedOutput } from './journal.ts';
import type { Link } from './link.ts';
import { createOutboundStream, type OutboundStream } from './outbound.ts';
import { createSpool, emptySummary, restoreSpool, type Spool } from './spool.ts';

/** Output of a command that runs longer than this goes to the spool file at the next sweep, milliseconds. */
export const SPILL_AFTER_MS = 200;

/** Longest reason the protocol takes, UTF-16 units. */
const MAX_REASON_LENGTH = 1024;

export interface LiveCommand {
  readonly commandId: string;
  readonly digest: string;
  /** Null when it was never started. */
  streams: Record<StreamName, OutboundStream> | null;
  started: { pid: number; startedAt: string } | null;
  state:
    | { kind: 'queued'; act: Act; startBefore: number }
    /** INTENT is on its way to the medium, or the process is being made. */
    | { kind: 'starting'; cancelReason: string | null }
    /** `since`: milliseconds of performance.now(). */
    | { kind: 'running'; job: RunningJob; since: number }
    | { kind: 'finished'; result: ResultFrame; sentAt: number | null };
}

export interface StreamDeps {
  spoolDirectory: string;
  link: Link;
  onDiskError: (error: unknown) => void;
}

/** File of a command's stream in the spool directory. */
export const spoolPath = (directory: string, commandId: string, stream: StreamName): string =>
  join(directory, `${commandId}.${stream}`);

const streamsOf = (
  deps: StreamDeps,
  commandId: string,
  spoolOf: (stream: StreamName, path: string) => Spool,
): Record<StreamName, OutboundStream> => {
  const streamOf = (stream: StreamName): OutboundStream =>
    createOutboundStream({
      spool: spoolOf(stream, spoolPath(deps.spoolDirectory, commandId, stream)),
      link: deps.link,
      commandId,
      stream,
    });
  return { stdout: streamOf('stdout'), stderr: streamOf('stderr') };
};

/** Empty streams of a command that is about to start. */
export const createStreams = (deps: StreamDeps, commandId: string, capBytes: number) =>
  streamsOf(deps, commandId, (_stream, path) =>
    createSpool({ path, capBytes, onDiskError: deps.onDiskError }),
  );

/** Streams of a command of an earlier agent process, with the bytes that are left. */
export const restoreStreams = (deps: StreamDeps, commandId: string, saved: SavedOutput | null) =>
  streamsOf(deps, commandId, (stream, path) => restoreSpool(path, saved?.[stream]));

/** Output that exists only in memory, to be saved with the result. */
export function memoryOutput(streams: Record<StreamName, OutboundStream> | null): SavedOutput | null {
  if (streams === null) return null;
  const saved: SavedOutput = {};
  for (const name of streamNames) {
    const stream = streams[name];
    const bytes = stream.isDelivered() ? null : stream.spool.memoryBase64();
    if (bytes !== null) saved[name] = bytes;
  }
  return saved.stdout === undefined && saved.stderr === undefined ? null : saved;
}

/** Summary of a restored stream: what was promised before the restart, cut (and flagged) to what is left of it. */
export function restoredSummary(promised: StreamSummary, left: StreamSummary): StreamSummary {
  if (left.sha256 === promised.sha256) return promised;
  const totalBytes = Math.max(promised.totalBytes, left.bytes);
  return { bytes: left.bytes, sha256: left.sha256, totalBytes, truncated: totalBytes > left.bytes };
}

export type ResultFacts = Pick<ResultFrame, 'outcome'> &
  Partial<Pick<ResultFrame, 'exitCode' | 'signal' | 'reason' | 'startedAt' | 'finishedAt' | 'durationMs'>>;

/** The result frame of a command; what is not given is null, and the streams are as they stand. */
export function resultOf(
  command: Pick<LiveCommand, 'commandId' | 'digest' | 'streams'>,
  facts: ResultFacts,
): ResultFrame {
  return {
    type: 'result',
    commandId: command.commandId,
    digest: command.digest,
    outcome: facts.outcome,
    exitCode: facts.exitCode ?? null,
    signal: facts.signal ?? null,
    reason: facts.reason?.slice(0, MAX_REASON_LENGTH) ?? null,
    startedAt: facts.startedAt ?? null,
    finishedAt: facts.finishedAt ?? null,
    durationMs: facts.durationMs ?? null,
    stdout: command.streams?.stdout.spool.summary() ?? emptySummary,
    stderr: command.streams?.stderr.spool.summary() ?? emptySummary,
  };
}
