/**
 * The usual reports of agents, recorded by one statement that is a transaction of its own: commands, their batches,
 * the events and the workflows' bells. What it writes is what `settleCommands` (domain/commands/settle.ts) writes; a
 * test compares the rows of both.
 *
 * Lock order as everywhere: commands by id, then batches by id.
 */
import { UNKNOWN_MARGIN_MS } from '../contracts/command-states.ts';
import { type BatchRow, batchColumns, rowToBatch, type StoredBatch } from './batches.ts';
import {
  batchFallSet,
  type CommandChange,
  changeRecord,
  changeRecordColumns,
  changeSet,
} from './command-changes.ts';
import { type CommandRow, commandColumns, rowToCommand, type StoredCommand } from './commands.ts';
import { type Db, queryOne } from './database.ts';
import type { EventRow, StoredEvent } from './events.ts';
import type { OutboxRow, StoredOutbox } from './outbox.ts';
import { emittedColumns, eventsOfJson, outboxOfJson, rungColumns, type StoredJson } from './unit-rows.ts';

/** A change, and what must be true of the row for it to be the right one. */
export interface UsualChange {
  change: CommandChange;
  /** The row must be this agent's, sent to this journal, with this digest. */
  agentId: string;
  journalId: string;
  digest: string;
  /** It must be in one of these states, and have stored exactly as many bytes as the change says. */
  from: readonly string[];
}

export interface UsualRecord {
  /** Commands that were changed, by id. The others are as they were. */
  commands: CommandRow[];
  /** Batches whose counter fell. */
  batches: BatchRow[];
  events: EventRow[];
  outbox: OutboxRow[];
}

const usualRecord = `with said as (
       select * from jsonb_to_recordset(cast(:rows as jsonb)) as r(${changeRecordColumns},
         agent_id text, journal_id uuid, digest text, from_states text[])
     ), held as materialized (
       select c.command_id from commands c join said r on r.command_id = c.command_id
       where c.command_id = any(cast(:ids as uuid[])) -- Else a plan made while the table was small reads all of it.
         and c.agent_id = r.agent_id and c.sent_journal_id = r.journal_id and c.digest = r.digest
         and c.state = any(r.from_states)
         and c.stdout_bytes = r.stdout_bytes and c.stderr_bytes = r.stderr_bytes
       order by c.command_id for update of c
     ), changed as (
       update commands c set ${changeSet}
       from said r join held using (command_id) where c.command_id = r.command_id
       returning ${commandColumns}, r.started_now, r.final
     ), fallen as (
       select batch_id as id, count(*) as by, min(owner_id) as owner_id from changed where final group by batch_id
     ), locked as materialized (
       select b.id from batches b join fallen using (id) order by b.id for update of b
     ), counted as (
       update batches b set ${batchFallSet}
       from fallen join locked using (id) where b.id = fallen.id
       returning ${batchColumns('b')}, fallen.owner_id
     ), news as (
       select 1 as position, command_id as sorted_by, 'command.started' as type, task_id, command_id, batch_id,
              agent_id, owner_id, jsonb_build_object('step', step_no) as data
       from changed where started_now
       union all
       select 2, command_id, 'command.finished', task_id, command_id, batch_id, agent_id, owner_id,
              jsonb_build_object('step', step_no, 'state', state, 'exitCode', exit_code, 'reason', reason)
       from changed where final
       union all
       select 3, null, case when task_id is null then 'batch.finished' else 'task.step_finished' end,
              task_id, null, id, null, owner_id,
              case when task_id is null then '{}' else jsonb_build_object('step', step_no) end
       from counted where pending = 0
     ), emitted as (
       insert into events (type, task_id, command_id, batch_id, agent_id, owner_id, data)
       select type, task_id, command_id, batch_id, agent_id, owner_id, data
       from news order by sorted_by nulls last, position
       returning ${emittedColumns}
     ), rung as (
       insert into outbox (workflow_id, kind, payload)
       select workflow_id, 'signal',
              jsonb_build_object('name', 'batchFinished', 'arg', jsonb_build_object('batchId', id))
       from counted where pending = 0 and workflow_id is not null
       returning ${rungColumns}
     )
     select (select coalesce(jsonb_agg(to_jsonb(changed)), '[]') from changed) as commands,
            (select coalesce(jsonb_agg(to_jsonb(counted)), '[]') from counted) as batches,
            (select coalesce(jsonb_agg(to_jsonb(emitted) order by id), '[]') from emitted) as events,
            (select coalesce(jsonb_agg(to_jsonb(rung) order by id), '[]') from rung) as outbox`;

/** Record those of the changes that find their row as they expect it; each command at most once in `changes`. */
export async function recordUsualChanges(db: Db, changes: readonly UsualChange[]): Promise<UsualRecord> {
  const row = await queryOne<{
    commands: StoredJson<StoredCommand>[];
    batches: StoredJson<StoredBatch>[];
    events: StoredJson<StoredEvent>[];
    outbox: StoredJson<StoredOutbox>[];
  }>(db, usualRecord, {
    ids: changes.map(({ change }) => change.commandId),
    margin_ms: UNKNOWN_MARGIN_MS,
    rows: JSON.stringify(
      changes.map(({ change, agentId, journalId, digest, from }) => ({
        ...changeRecord(change),
        agent_id: agentId,
        journal_id: journalId,
        digest,
        from_states: from,
      })),
    ),
  });
  return {
    commands: (row?.commands ?? []).map((command) => rowToCommand(withDates(command, commandTimes))),
    batches: (row?.batches ?? []).map((batch) => rowToBatch(withDates(batch, batchTimes))),
    events: eventsOfJson(row?.events ?? []),
    outbox: outboxOfJson(row?.outbox ?? []),
  };
}

const batchTimes = ['created_at', 'finished_at'] as const;
const commandTimes = [
  'created_at',
  'expires_at',
  'sent_at',
  'started_at',
  'cancel_requested_at',
  'finished_at',
  'resolved_at',
] as const;

/** A row out of JSON with its times (ISO 8601 text, or null) as dates. */
function withDates<Row>(row: StoredJson<Row>, times: readonly (keyof Row)[]): Row {
  const dates = times.map((name) => {
    const value = row[name];
    return [name, typeof value === 'string' ? new Date(value) : null];
  });
  return { ...row, ...Object.fromEntries(dates) } as Row;
}
