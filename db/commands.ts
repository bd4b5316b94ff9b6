/** The command ledger's rows. Every change of state goes through the functions here and the edge table. */
import { actSchema } from '../contracts/act.ts';
import type { Act, ActBinding } from '../contracts/agent-protocol.ts';
import type { CommandState } from '../contracts/command-states.ts';
import { type ActRow, actColumns, rowToAct, type StoredAct } from './acts.ts';
import { type Queryable, query } from './database.ts';

export interface StreamState {
  /** Bytes stored; also the next offset the server expects. */
  bytes: number;
  totalBytes: number;
  sha256: string | null;
  truncated: boolean;
}

export interface CommandRow {
  commandId: string;
  batchId: string;
  agentId: string;
  digest: string;
  taskId: string | null;
  /** The task's id as clients know it. */
  taskPublicId: string | null;
  runNo: number | null;
  stepNo: number | null;
  attempt: number;
  state: CommandState;
  creatorKind: string;
  creatorId: string;
  creatorName: string;
  /** Principal that may see it besides those who see all. */
  ownerId: string;
  timeoutMs: number;
  outputCapBytes: number;
  createdAt: Date;
  expiresAt: Date;
  sentAt: Date | null;
  sentEpoch: number | null;
  sentJournalId: string | null;
  startedAt: Date | null;
  cancelRequestedAt: Date | null;
  cancelReason: string | null;
  finishedAt: Date | null;
  durationMs: number | null;
  exitCode: number | null;
  signal: string | null;
  reason: string | null;
  resolvedAt: Date | null;
  stdout: StreamState;
  stderr: StreamState;
}

export interface StoredCommand {
  command_id: string;
  batch_id: string;
  agent_id: string;
  digest: string;
  task_id: string | null;
  task_public_id?: string | null;
  run_no: number | null;
  step_no: number | null;
  attempt: number;
  state: CommandState;
  creator_kind: string;
  creator_id: string;
  creator_name: string;
  owner_id: string;
  timeout_ms: number;
  output_cap_bytes: number;
  created_at: Date;
  expires_at: Date;
  sent_at: Date | null;
  sent_epoch: number | null;
  sent_journal_id: string | null;
  started_at: Date | null;
  cancel_requested_at: Date | null;
  cancel_reason: string | null;
  finished_at: Date | null;
  duration_ms: number | null;
  exit_code: number | null;
  signal: string | null;
  reason: string | null;
  resolved_at: Date | null;
  stdout_bytes: number;
  stdout_total_bytes: number;
  stdout_sha256: string | null;
  stdout_truncated: boolean;
  stderr_bytes: number;
  stderr_total_bytes: number;
  stderr_sha256: string | null;
  stderr_truncated: boolean;
}

const names = [
  'command_id',
  'batch_id',
  'agent_id',
  'digest',
  'task_id',
  'run_no',
  'step_no',
  'attempt',
  'state',
  'creator_kind',
  'creator_id',
  'creator_name',
  'owner_id',
  'timeout_ms',
  'output_cap_bytes',
  'created_at',
  'expires_at',
  'sent_at',
  'sent_epoch',
  'sent_journal_id',
  'started_at',
  'cancel_requested_at',
  'cancel_reason',
  'finished_at',
  'duration_ms',
  'exit_code',
  'signal',
  'reason',
  'resolved_at',
  'stdout_bytes',
  'stdout_total_bytes',
  'stdout_sha256',
  'stdout_truncated',
  'stderr_bytes',
  'stderr_total_bytes',
  'stderr_sha256',
  'stderr_truncated',
];
/** The columns of a command that rowToCommand reads, of a table with the alias `c`. */
export const commandColumns = names.map((name) => `c.${name}`).join(', ');

export const rowToCommand = (row: StoredCommand): CommandRow => ({
  commandId: row.command_id,
  batchId: row.batch_id,
  agentId: row.agent_id,
  digest: row.digest,
  taskId: row.task_id,
  taskPublicId: row.task_public_id ?? null,
  runNo: row.run_no,
  stepNo: row.step_no,
  attempt: row.attempt,
  state: row.state,
  creatorKind: row.creator_kind,
  creatorId: row.creator_id,
  creatorName: row.creator_name,
  ownerId: row.owner_id,
  timeoutMs: row.timeout_ms,
  outputCapBytes: row.output_cap_bytes,
  createdAt: row.created_at,
  expiresAt: row.expires_at,
  sentAt: row.sent_at,
  sentEpoch: row.sent_epoch,
  sentJournalId: row.sent_journal_id,
  startedAt: row.started_at,
  cancelRequestedAt: row.cancel_requested_at,
  cancelReason: row.cancel_reason,
  finishedAt: row.finished_at,
  durationMs: row.duration_ms,
  exitCode: row.exit_code,
  signal: row.signal,
  reason: row.reason,
  resolvedAt: row.resolved_at,
  stdout: {
    bytes: row.stdout_bytes,
    totalBytes: row.stdout_total_bytes,
    sha256: row.stdout_sha256,
    truncated: row.stdout_truncated,
  },
  stderr: {
    bytes: row.stderr_bytes,
    totalBytes: row.stderr_total_bytes,
    sha256: row.stderr_sha256,
    truncated: row.stderr_truncated,
  },
});

/** A command with the act it points to. */
export type CommandWithAct = CommandRow & { act: Act; binding: ActBinding };

const rowToCommandWithAct = (row: StoredCommand & StoredAct): CommandWithAct => {
  const { act, binding }: ActRow = rowToAct(row);
  return { ...rowToCommand(row), act, binding };
};

export async function findCommand(db: Queryable, commandId: string): Promise<CommandWithAct | undefined> {
  return (await findCommands(db, [commandId]))[0];
}

export async function findCommands(db: Queryable, commandIds: readonly string[]): Promise<CommandWithAct[]> {
  return (await selectCommands(db, commandIds)).map(rowToCommandWithAct);
}

async function selectCommands(
  db: Queryable,
  commandIds: readonly string[],
): Promise<(StoredCommand & StoredAct)[]> {
  if (commandIds.length === 0) return [];
  return query<StoredCommand & StoredAct>(
    db,
    `select ${commandColumns}, ${actColumns}, t.public_id as task_public_id
     from commands c join acts a on a.digest = c.digest left join tasks t on t.id = c.task_id
     where c.command_id = any(cast(:ids as uuid[])) order by c.created_at, c.command_id`,
    { ids: [...commandIds] },
  );
}

export interface ReadableCommands {
  commands: CommandWithAct[];
  /** Commands whose stored act is no act to this version: tampered with, or written by a newer one. */
  unreadable: { commandId: string; agentId: string }[];
}

/** As `findCommands`, but one act that cannot be read does not keep the others from being found. */
export async function findReadableCommands(
  db: Queryable,
  commandIds: readonly string[],
): Promise<ReadableCommands> {
  return separateReadable(await selectCommands(db, commandIds));
}

/** Commands whose act still parses, and those whose act does not. */
export function separateReadable(rows: readonly (StoredCommand & StoredAct)[]): ReadableCommands {
  const found: ReadableCommands = { commands: [], unreadable: [] };
  for (const row of rows) {
    if (actSchema.safeParse(row.act).success) found.commands.push(rowToCommandWithAct(row));
    else found.unreadable.push({ commandId: row.command_id, agentId: row.agent_id });
  }
  return found;
}

/** By agent. What they run is read once, however many they are. */
export async function listBatchCommands(db: Queryable, batchId: string): Promise<CommandWithAct[]> {
  const rows = await query<StoredCommand>(
    db,
    `select ${commandColumns}, t.public_id as task_public_id
     from commands c left join tasks t on t.id = c.task_id where c.batch_id = :batch_id order by c.agent_id`,
    { batch_id: batchId },
  );
  const acts = await query<StoredAct>(
    db,
    `select ${actColumns} from acts a where a.digest = any(cast(:digests as text[]))`,
    { digests: [...new Set(rows.map((row) => row.digest))] },
  );
  const actOf = new Map(acts.map((act) => [act.digest, rowToAct(act)]));
  return rows.map((row) => {
    const found = actOf.get(row.digest);
    if (found === undefined) throw new Error(`command ${row.command_id} has no act`);
    return { ...rowToCommand(row), act: found.act, binding: found.binding };
  });
}

export async function listTaskCommands(
  db: Queryable,
  taskId: string,
  runNo: number,
): Promise<CommandWithAct[]> {
  const rows = await query<StoredCommand & StoredAct>(
    db,
    `select ${commandColumns}, ${actColumns}, t.public_id as task_public_id
     from commands c join acts a on a.digest = c.digest join tasks t on t.id = c.task_id
     where c.task_id = :task_id and c.run_no = :run_no order by c.step_no, c.created_at, c.command_id`,
    { task_id: taskId, run_no: runNo },
  );
  return rows.map(rowToCommandWithAct);
}

export interface CommandFilter {
  agentId?: string | undefined;
  taskPublicId?: string | undefined;
  batchId?: string | undefined;
  state?: CommandState | undefined;
  ownerId?: string | undefined;
  before?: { at: Date; id: string } | undefined;
  limit: number;
}

/** Newest first, keyset by (created_at, command_id). */
export async function listCommands(db: Queryable, filter: CommandFilter): Promise<CommandWithAct[]> {
  const conditions: string[] = [];
  if (filter.agentId !== undefined) conditions.push('c.agent_id = :agent_id');
  if (filter.taskPublicId !== undefined) conditions.push('t.public_id = :task_public_id');
  if (filter.batchId !== undefined) conditions.push('c.batch_id = :batch_id');
  if (filter.state !== undefined) conditions.push('c.state = :state');
  if (filter.ownerId !== undefined) conditions.push('c.owner_id = :owner_id');
  if (filter.before !== undefined) conditions.push('(c.created_at, c.command_id) < (:before_at, :before_id)');
  const rows = await query<StoredCommand & StoredAct>(
    db,
    `select ${commandColumns}, ${actColumns}, t.public_id as task_public_id
     from commands c join acts a on a.digest = c.digest left join tasks t on t.id = c.task_id
     ${conditions.length > 0 ? `where ${conditions.join(' and ')}` : ''}
     order by c.created_at desc, c.command_id desc limit :limit`,
    {
      agent_id: filter.agentId ?? null,
      task_public_id: filter.taskPublicId ?? null,
      batch_id: filter.batchId ?? null,
      state: filter.state ?? null,
      owner_id: filter.ownerId ?? null,
      before_at: filter.before?.at ?? null,
      before_id: filter.before?.id ?? null,
      limit: filter.limit,
    },
  );
  return rows.map(rowToCommandWithAct);
}
