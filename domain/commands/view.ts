import { actText } from '../../contracts/act.ts';
import type { StreamName } from '../../contracts/agent-protocol.ts';
import type { CommandView } from '../../contracts/commands.ts';
import type { CommandWithAct, StreamState } from '../../db/commands.ts';

const time = (date: Date | null): string | null => date?.toISOString() ?? null;

const streamView = (commandId: string, stream: StreamName, state: StreamState) => ({
  bytes: state.bytes,
  totalBytes: state.totalBytes,
  sha256: state.sha256,
  truncated: state.truncated,
  url: `/v1/commands/${commandId}/output/${stream}`,
});

/** A ledger row as the house API shows it. */
export const toCommandView = (row: CommandWithAct): CommandView => ({
  commandId: row.commandId,
  batchId: row.batchId,
  agentId: row.agentId,
  taskId: row.taskPublicId,
  step: row.stepNo,
  attempt: row.attempt,
  state: row.state,
  digest: row.digest,
  text: actText(row.act),
  mode: row.act.mode,
  shell: row.act.mode === 'shell' ? row.act.shell : null,
  stdinBytes: row.act.stdin === null ? null : Buffer.byteLength(row.act.stdin, 'base64'),
  workingDirectory: row.act.workingDirectory,
  environmentNames: Object.keys(row.act.environment).sort(),
  user: row.act.user,
  elevated: row.act.elevated,
  timeoutMs: row.timeoutMs,
  createdBy: { kind: row.creatorKind, id: row.creatorId, name: row.creatorName },
  createdAt: row.createdAt.toISOString(),
  expiresAt: row.expiresAt.toISOString(),
  sentAt: time(row.sentAt),
  startedAt: time(row.startedAt),
  finishedAt: time(row.finishedAt),
  durationMs: row.durationMs,
  exitCode: row.exitCode,
  signal: row.signal,
  reason: row.reason,
  cancelRequestedAt: time(row.cancelRequestedAt),
  resolvedAt: time(row.resolvedAt),
  stdout: streamView(row.commandId, 'stdout', row.stdout),
  stderr: streamView(row.commandId, 'stderr', row.stderr),
});
