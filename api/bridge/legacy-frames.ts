/** Answers of agents of the dialects as frames of protocol v1: how the ledger hears of them. And what they are sent. */
import { createHash } from 'node:crypto';
import {
  type AgentFrame,
  OUTPUT_CHUNK_BYTES,
  type StreamName,
  type StreamSummary,
} from '../../contracts/agent-protocol.ts';
import { now } from './dialects/dialect.ts';

/** The welcome of all dialects. */
export const welcomeText = (agentId: string, connectionId: string): string =>
  JSON.stringify({
    type: 'welcome',
    data: { agent_id: agentId, connection_id: connectionId, message: 'Connected' },
    timestamp: now(),
  });

/** The error frame of all dialects. */
export const errorText = (message: string): string =>
  JSON.stringify({ type: 'error', data: { message }, timestamp: now() });

/** The bytes that the cap leaves. */
export const keep = (bytes: Buffer, capBytes: number): Buffer => bytes.subarray(0, capBytes);

/** The stream in chunks, from its beginning. */
export function* outputFrames(commandId: string, stream: StreamName, bytes: Buffer) {
  for (let offset = 0; offset < bytes.length; offset += OUTPUT_CHUNK_BYTES) {
    const chunk = bytes.subarray(offset, offset + OUTPUT_CHUNK_BYTES);
    yield { type: 'output', commandId, stream, offset, bytes: chunk.toString('base64') } as const;
  }
}

export const summaryOf = (kept: Buffer, totalBytes: number): StreamSummary => ({
  bytes: kept.length,
  totalBytes,
  sha256: createHash('sha256').update(kept).digest('hex'),
  truncated: totalBytes > kept.length,
});

type ResultFrame = Extract<AgentFrame, { type: 'result' }>;

const nothing = Buffer.alloc(0);

/** A result with nothing in it but what is given. */
export const resultFrame = (
  commandId: string,
  digest: string,
  given: Pick<ResultFrame, 'outcome' | 'reason'> & Partial<ResultFrame>,
): ResultFrame => ({
  type: 'result',
  commandId,
  digest,
  exitCode: null,
  signal: null,
  startedAt: null,
  finishedAt: null,
  durationMs: null,
  stdout: summaryOf(nothing, 0),
  stderr: summaryOf(nothing, 0),
  ...given,
});
