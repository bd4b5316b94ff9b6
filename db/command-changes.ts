/** Change commands: lock them in id order, write what became of them, lower the counters of their batches. */
import { type CommandState, UNKNOWN_MARGIN_MS } from '../contracts/command-states.ts';
import { type BatchRow, batchColumns, rowToBatch, type StoredBatch } from './batches.ts';
import {
  type CommandRow,
  commandColumns,
  rowToCommand,
  type StoredCommand,
  type StreamState,
} from './commands.ts';
import { execute, type Queryable, query } from './database.ts';

/** Lock the given commands in id order (the lock order of every writer). */
export async function lockCommands(db: Queryable, commandIds: readonly string[]): Promise<CommandRow[]> {
  if (commandIds.length === 0) return [];
  const rows = await query<StoredCommand>(
    db,
    `select ${commandColumns} from commands c where c.command_id = any(cast(:ids as uuid[]))
     order by c.command_id for update`,
    { ids: [...commandIds] },
  );
  return rows.map(rowToCommand);
}

/** Which open commands a sweep is about. */
export type OpenCommandSelection =
  | { kind: 'batch'; batchId: string }
  | { kind: 'batches'; batchIds: readonly string[] }
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
    batches: `c.batch_id = any(cast(:batch_ids as uuid[])) and c.state in ('queued', 'sent', 'running')`,
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
    `select ${commandColumns} from commands c where ${where} order by c.command_id for update of c`,
    {
      batch_id: selection.kind === 'batch' ? selection.batchId : null,
      batch_ids: selection.kind === 'batches' ? [...selection.batchIds] : null,
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

/** A change as JSON with the names that `changeRecordColumns` and `changeSet` read. */
export const changeRecord = (change: CommandChange) => ({
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
});

/** Columns of a set of changes, for jsonb_to_recordset. */
export const changeRecordColumns = `command_id uuid, state text, started_now boolean, final boolean, resolved boolean,
       exit_code bigint, signal text, reason text, duration_ms bigint,
       stdout_bytes bigint, stdout_total_bytes bigint, stdout_sha256 text, stdout_truncated boolean,
       stderr_bytes bigint, stderr_total_bytes bigint, stderr_sha256 text, stderr_truncated boolean`;

/** What a change `r` does to a command `c`. Times are the database's; needs :margin_ms (UNKNOWN_MARGIN_MS). */
export const changeSet = `state = r.state,
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
       stderr_sha256 = r.stderr_sha256, stderr_truncated = r.stderr_truncated`;

/** What follows for a batch `b` when `fallen.by` of its commands became final now. */
export const batchFallSet = `pending = b.pending - fallen.by,
         finished_at = case when b.pending - fallen.by = 0 then now() else b.finished_at end`;

/**
 * Write a set of changes of commands that the caller has locked, and lower the counters of their batches by the
 * commands that became final now (`finished`: batch id → how many), locking batches in id order.
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
     update commands c set ${changeSet}
     from jsonb_to_recordset(cast(:rows as jsonb)) as r(${changeRecordColumns})
     where c.command_id = r.command_id
     ), fallen as (
       select id, by from jsonb_to_recordset(cast(:finished as jsonb)) as f(id uuid, by integer)
     ), locked as (
       select b.id from batches b join fallen using (id) order by b.id for update of b
     )
     update batches b set ${batchFallSet}
     from fallen join locked using (id)
     where b.id = fallen.id
     returning ${batchColumns('b')}`,
    {
      finished: JSON.stringify([...finished].map(([id, by]) => ({ id, by }))),
      margin_ms: UNKNOWN_MARGIN_MS,
      rows: JSON.stringify(changes.map(changeRecord)),
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
