/** The command ledger's rows. Every change of state goes through the functions here and the edge table. */
import { actSchema } from '../contracts/act.ts';
import type { Act, ActBinding, AgentOutcome, StreamName } from '../contracts/agent-protocol.ts';
import { type CommandState, UNKNOWN_MARGIN_MS } from '../contracts/command-states.ts';
import { type ActRow, actColumns, rowToAct, type StoredAct } from './acts.ts';
import { type BatchRow, batchColumns, rowToBatch, type StoredBatch } from './batches.ts';
import { execute, type Queryable, query } from './database.ts';

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

interface StoredCommand {
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
const columns = names.map((name) => `c.${name}`).join(', ');

const rowToCommand = (row: StoredCommand): CommandRow => ({
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

export interface NewCommand {
  commandId: string;
  agentId: string;
}

/** A batch to be inserted: its act, its row and its commands. */
export interface NewBatchRows {
  batchId: string;
  act: ActRow;
  taskId: string | null;
  runNo: number | null;
  stepNo: number | null;
  /** Workflow that hears `batchFinished`, or null for ad-hoc work. */
  workflowId: string | null;
  attempt: number;
  creator: { kind: string; id: string; name: string };
  ownerId: string;
  commands: readonly NewCommand[];
  /** Sockets of this process: commands for them are inserted as `sent`, holding the connection row at that epoch. */
  local: ReadonlyMap<string, number>;
}

/**
 * Insert act, batch and commands in one statement: a command is `sent` where the agent's socket is right here at the
 * given epoch, else `queued`.
 * @returns what was inserted. An id that exists already is left out: the caller compares.
 */
export async function insertBatchRows(
  db: Queryable,
  input: NewBatchRows,
): Promise<{ commandId: string; agentId: string; state: 'queued' | 'sent' }[]> {
  const { act, binding, digest } = input.act;
  const rows = await query<{ command_id: string; agent_id: string; state: 'queued' | 'sent' }>(
    db,
    `with kept as (
       insert into acts (digest, act, task_run, step_no, proposal_id)
       values (:digest, cast(:act as jsonb), :task_run, :act_step_no, :proposal_id)
       on conflict (digest) do nothing
     ), batch as (
       insert into batches (id, task_id, run_no, step_no, workflow_id, digest, size, pending)
       values (cast(:batch_id as uuid), cast(:task_id as uuid), cast(:run_no as integer), cast(:step_no as integer),
               :workflow_id, :digest, cast(:size as integer), cast(:size as integer))
     ), wanted as (
       select command_id, agent_id from jsonb_to_recordset(cast(:commands as jsonb)) as w(command_id uuid, agent_id text)
     ), here as (
       select c.agent_id, c.epoch, c.journal_id
       from agent_connections c
       join jsonb_to_recordset(cast(:local as jsonb)) as l(agent_id text, epoch bigint)
         on l.agent_id = c.agent_id and l.epoch = c.epoch
       order by c.agent_id for share of c
     )
     insert into commands as c (command_id, batch_id, agent_id, digest, task_id, run_no, step_no, attempt, state,
                           creator_kind, creator_id, creator_name, owner_id, timeout_ms, output_cap_bytes, expires_at,
                           sent_at, sent_epoch, sent_journal_id, overdue_at)
     select w.command_id, cast(:batch_id as uuid), w.agent_id, :digest, cast(:task_id as uuid),
            cast(:run_no as integer), cast(:step_no as integer), cast(:attempt as integer),
            case when h.agent_id is null then 'queued' else 'sent' end,
            :creator_kind, :creator_id, :creator_name, :owner_id, cast(:timeout_ms as bigint),
            cast(:output_cap_bytes as bigint), now() + make_interval(secs => :expiry_seconds),
            case when h.agent_id is null then null else now() end, h.epoch, h.journal_id,
            case when h.agent_id is null then null else now() + make_interval(secs => :overdue_seconds) end
     from wanted w left join here h on h.agent_id = w.agent_id
     on conflict (command_id) do nothing
     returning c.command_id, c.agent_id, c.state`,
    {
      digest,
      act: JSON.stringify(act),
      task_run: binding.taskRun,
      act_step_no: binding.step,
      proposal_id: binding.proposalId,
      batch_id: input.batchId,
      task_id: input.taskId,
      run_no: input.runNo,
      step_no: input.stepNo,
      workflow_id: input.workflowId,
      size: input.commands.length,
      commands: JSON.stringify(input.commands.map((c) => ({ command_id: c.commandId, agent_id: c.agentId }))),
      local: JSON.stringify([...input.local].map(([agentId, epoch]) => ({ agent_id: agentId, epoch }))),
      attempt: input.attempt,
      creator_kind: input.creator.kind,
      creator_id: input.creator.id,
      creator_name: input.creator.name,
      owner_id: input.ownerId,
      timeout_ms: act.timeoutMs,
      output_cap_bytes: act.outputCapBytes,
      expiry_seconds: act.expiryMs / 1000,
      overdue_seconds: (act.expiryMs + UNKNOWN_MARGIN_MS) / 1000,
    },
  );
  return rows.map((row) => ({ commandId: row.command_id, agentId: row.agent_id, state: row.state }));
}

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
    `select ${columns}, ${actColumns}, t.public_id as task_public_id
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

function separateReadable(rows: readonly (StoredCommand & StoredAct)[]): ReadableCommands {
  const found: ReadableCommands = { commands: [], unreadable: [] };
  for (const row of rows) {
    if (actSchema.safeParse(row.act).success) found.commands.push(rowToCommandWithAct(row));
    else found.unreadable.push({ commandId: row.command_id, agentId: row.agent_id });
  }
  return found;
}

export async function listBatchCommands(db: Queryable, batchId: string): Promise<CommandWithAct[]> {
  const rows = await query<StoredCommand & StoredAct>(
    db,
    `select ${columns}, ${actColumns}, t.public_id as task_public_id
     from commands c join acts a on a.digest = c.digest left join tasks t on t.id = c.task_id
     where c.batch_id = :batch_id order by c.agent_id`,
    { batch_id: batchId },
  );
  return rows.map(rowToCommandWithAct);
}

export async function listTaskCommands(
  db: Queryable,
  taskId: string,
  runNo: number,
): Promise<CommandWithAct[]> {
  const rows = await query<StoredCommand & StoredAct>(
    db,
    `select ${columns}, ${actColumns}, t.public_id as task_public_id
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
    `select ${columns}, ${actColumns}, t.public_id as task_public_id
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

/** Lock the given commands in id order (the lock order of every writer). */
export async function lockCommands(db: Queryable, commandIds: readonly string[]): Promise<CommandRow[]> {
  if (commandIds.length === 0) return [];
  const rows = await query<StoredCommand>(
    db,
    `select ${columns} from commands c where c.command_id = any(cast(:ids as uuid[]))
     order by c.command_id for update`,
    { ids: [...commandIds] },
  );
  return rows.map(rowToCommand);
}

/** Which open commands a sweep is about. */
export type OpenCommandSelection =
  | { kind: 'batch'; batchId: string }
  | { kind: 'task'; taskId: string }
  | { kind: 'agent'; agentId: string }
  | { kind: 'agent_queue'; agentId: string }
  | { kind: 'command'; commandId: string }
  | { kind: 'expired'; limit: number }
  | { kind: 'overdue'; limit: number };

/** Lock open commands of a selection in id order. `expired`: queued and past expiry; `overdue`: out and past their time. */
export async function lockOpenCommands(
  db: Queryable,
  selection: OpenCommandSelection,
): Promise<CommandRow[]> {
  const where = {
    batch: `c.batch_id = :batch_id and c.state in ('queued', 'sent', 'running')`,
    task: `c.task_id = :task_id and c.state in ('queued', 'sent', 'running')`,
    agent: `c.agent_id = :agent_id and c.state in ('sent', 'running')`,
    agent_queue: `c.agent_id = :agent_id and c.state = 'queued'`,
    command: `c.command_id = :command_id and c.state in ('queued', 'sent', 'running')`,
    expired: `c.command_id in (select command_id from commands where state = 'queued' and expires_at <= now()
              order by expires_at limit :limit) and c.state = 'queued'`,
    overdue: `c.command_id in (select command_id from commands where state in ('sent', 'running')
              and overdue_at <= now() order by overdue_at limit :limit) and c.state in ('sent', 'running')`,
  }[selection.kind];
  const rows = await query<StoredCommand>(
    db,
    `select ${columns} from commands c where ${where} order by c.command_id for update of c`,
    {
      batch_id: selection.kind === 'batch' ? selection.batchId : null,
      task_id: selection.kind === 'task' ? selection.taskId : null,
      agent_id: selection.kind === 'agent' || selection.kind === 'agent_queue' ? selection.agentId : null,
      command_id: selection.kind === 'command' ? selection.commandId : null,
      limit: selection.kind === 'expired' || selection.kind === 'overdue' ? selection.limit : null,
    },
  );
  return rows.map(rowToCommand);
}

/** One command's changes in a flush; absent fields stay as they are. */
export interface CommandChange {
  commandId: string;
  state: CommandState;
  /** Set when it starts to run now. */
  startedNow: boolean;
  /** Set when it becomes final now. */
  final: null | {
    exitCode: number | null;
    signal: string | null;
    reason: string | null;
    durationMs: number | null;
    /** Late evidence for an `unknown` command. */
    resolved: boolean;
  };
  stdout: StreamState;
  stderr: StreamState;
}

/**
 * Write a set of changes of commands that the caller has locked, and lower the counters of their batches by the
 * commands that became final now (`finished`: batch id → how many), locking batches in id order. Times are the database's.
 * @returns the batches whose counter fell, as they are now
 */
export async function writeChanges(
  db: Queryable,
  changes: readonly CommandChange[],
  finished: ReadonlyMap<string, number>,
): Promise<BatchRow[]> {
  if (changes.length === 0) return [];
  const rows = await query<StoredBatch>(
    db,
    `with changed as (
     update commands c set
       state = r.state,
       started_at = case when r.started_now then coalesce(c.started_at, clock_timestamp()) else c.started_at end,
       overdue_at = case when r.started_now
         then clock_timestamp() + make_interval(secs => (c.timeout_ms + :margin_ms) / 1000.0) else c.overdue_at end,
       finished_at = case when r.final and c.finished_at is null then clock_timestamp() else c.finished_at end,
       resolved_at = case when r.resolved then clock_timestamp() else c.resolved_at end,
       exit_code = case when r.final then r.exit_code else c.exit_code end,
       signal = case when r.final then r.signal else c.signal end,
       reason = case when r.final then r.reason else c.reason end,
       duration_ms = case when r.final then r.duration_ms else c.duration_ms end,
       stdout_bytes = r.stdout_bytes, stdout_total_bytes = r.stdout_total_bytes,
       stdout_sha256 = r.stdout_sha256, stdout_truncated = r.stdout_truncated,
       stderr_bytes = r.stderr_bytes, stderr_total_bytes = r.stderr_total_bytes,
       stderr_sha256 = r.stderr_sha256, stderr_truncated = r.stderr_truncated
     from jsonb_to_recordset(cast(:rows as jsonb)) as r(
       command_id uuid, state text, started_now boolean, final boolean, resolved boolean,
       exit_code bigint, signal text, reason text, duration_ms bigint,
       stdout_bytes bigint, stdout_total_bytes bigint, stdout_sha256 text, stdout_truncated boolean,
       stderr_bytes bigint, stderr_total_bytes bigint, stderr_sha256 text, stderr_truncated boolean)
     where c.command_id = r.command_id
     ), fallen as (
       select id, by from jsonb_to_recordset(cast(:finished as jsonb)) as f(id uuid, by integer)
     ), locked as (
       select b.id from batches b join fallen using (id) order by b.id for update of b
     )
     update batches b
     set pending = b.pending - fallen.by,
         finished_at = case when b.pending - fallen.by = 0 then now() else b.finished_at end
     from fallen join locked using (id)
     where b.id = fallen.id
     returning ${batchColumns('b')}`,
    {
      finished: JSON.stringify([...finished].map(([id, by]) => ({ id, by }))),
      margin_ms: UNKNOWN_MARGIN_MS,
      rows: JSON.stringify(
        changes.map((change) => ({
          command_id: change.commandId,
          state: change.state,
          started_now: change.startedNow,
          final: change.final !== null,
          resolved: change.final?.resolved ?? false,
          exit_code: change.final?.exitCode ?? null,
          signal: change.final?.signal ?? null,
          reason: change.final?.reason ?? null,
          duration_ms: change.final?.durationMs ?? null,
          stdout_bytes: change.stdout.bytes,
          stdout_total_bytes: change.stdout.totalBytes,
          stdout_sha256: change.stdout.sha256,
          stdout_truncated: change.stdout.truncated,
          stderr_bytes: change.stderr.bytes,
          stderr_total_bytes: change.stderr.totalBytes,
          stderr_sha256: change.stderr.sha256,
          stderr_truncated: change.stderr.truncated,
        })),
      ),
    },
  );
  return rows.map(rowToBatch);
}

/** Note that a cancel was asked for; the agents are told by their bridge until the commands are final. */
export async function markCancelRequested(
  db: Queryable,
  commandIds: readonly string[],
  reason: string,
): Promise<void> {
  if (commandIds.length === 0) return;
  await execute(
    db,
    `update commands set cancel_requested_at = coalesce(cancel_requested_at, now()),
                         cancel_reason = coalesce(cancel_reason, :reason)
     where command_id = any(cast(:ids as uuid[]))`,
    { ids: [...commandIds], reason },
  );
}

export interface Socket {
  agentId: string;
  epoch: number;
}

/** Most commands one claim takes. */
export const CLAIM_LIMIT = 500;

/**
 * Claim queued commands for sockets of this process: `sent` is committed before the first byte leaves.
 * The connection rows are held `for share` at the sockets' epochs, so a newer connection waits or wins.
 */
export async function claimQueuedCommands(
  db: Queryable,
  sockets: readonly Socket[],
  only?: string,
): Promise<ReadableCommands> {
  if (sockets.length === 0) return { commands: [], unreadable: [] };
  const claimed = await query<StoredCommand & StoredAct>(
    db,
    `with here as (
       select c.agent_id, c.epoch, c.journal_id
       from agent_connections c
       join jsonb_to_recordset(cast(:sockets as jsonb)) as s(agent_id text, epoch bigint)
         on s.agent_id = c.agent_id and s.epoch = c.epoch
       order by c.agent_id for share of c
     ), picked as (
       select q.command_id, here.epoch, here.journal_id, t.public_id as task_public_id
       from here join commands q on q.agent_id = here.agent_id left join tasks t on t.id = q.task_id
       where q.state = 'queued' and q.expires_at > now()
         and (cast(:only as uuid) is null or q.command_id = cast(:only as uuid))
       order by q.created_at, q.command_id limit :limit
       for update of q skip locked
     )
     update commands c set state = 'sent', sent_at = now(), sent_epoch = picked.epoch,
            sent_journal_id = picked.journal_id,
            overdue_at = c.expires_at + make_interval(secs => :margin_seconds)
     from picked, acts a where c.command_id = picked.command_id and a.digest = c.digest
     returning ${columns}, ${actColumns}, picked.task_public_id`,
    {
      sockets: JSON.stringify(sockets.map((s) => ({ agent_id: s.agentId, epoch: s.epoch }))),
      only: only ?? null,
      limit: CLAIM_LIMIT,
      margin_seconds: UNKNOWN_MARGIN_MS / 1000,
    },
  );
  claimed.sort(
    (x, y) => x.created_at.getTime() - y.created_at.getTime() || (x.command_id < y.command_id ? -1 : 1),
  );
  return separateReadable(claimed);
}

/** Commands out on these agents for which a cancel was asked. */
export async function listCancelRequests(
  db: Queryable,
  agentIds: readonly string[],
): Promise<{ commandId: string; agentId: string; reason: string }[]> {
  if (agentIds.length === 0) return [];
  const rows = await query<{ command_id: string; agent_id: string; cancel_reason: string | null }>(
    db,
    `select command_id, agent_id, cancel_reason from commands
     where agent_id = any(cast(:ids as text[])) and state in ('sent', 'running') and cancel_requested_at is not null`,
    { ids: [...agentIds] },
  );
  return rows.map((row) => ({
    commandId: row.command_id,
    agentId: row.agent_id,
    reason: row.cancel_reason ?? 'canceled',
  }));
}

export type { AgentOutcome, StreamName };
