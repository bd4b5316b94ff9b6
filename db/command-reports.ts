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
import type { EventRow } from './events.ts';
import type { OutboxRow, StoredOutbox } from './outbox.ts';
import { recordsFor, statementOfRecords } from './records.ts';
import { outboxOfJson, rungColumns, type StoredJson } from './unit-rows.ts';

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
  /** Ids of the commands that were changed. The others are as they were. */
  changed: Set<string>;
  /** Batches that ended, all of whose commands were changed here: the whole of their rows. */
  finished: { batch: BatchRow; commands: CommandRow[] }[];
  events: EventRow[];
  outbox: OutboxRow[];
}

const usualRecord = statementOfRecords(
  (read) => `with said as (
       select * from ${read}(cast(:rows as jsonb)) as r(${changeRecordColumns},
         agent_id text, journal_id uuid, digest text, from_states text[])
     ), held as materialized (
       -- One by one and in order: a join's plan, made while the table was small, reads all of it.
       select c.command_id from (select * from said order by command_id) as r
       cross join lateral (
         select c.command_id from commands c
         where c.command_id = r.command_id
           and c.agent_id = r.agent_id and c.sent_journal_id = r.journal_id and c.digest = r.digest
           and c.state = any(r.from_states)
           and c.stdout_bytes = r.stdout_bytes and c.stderr_bytes = r.stderr_bytes
         for update
       ) as c
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
       returning ${batchColumns('b')}, fallen.owner_id, fallen.by
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
       returning id, at, type, command_id, batch_id
     ), rung as (
       insert into outbox (workflow_id, kind, payload)
       select workflow_id, 'signal',
              jsonb_build_object('name', 'batchFinished', 'arg', jsonb_build_object('batchId', id))
       from counted where pending = 0 and workflow_id is not null
       returning ${rungColumns}
     )
     select cast(pg_current_xact_id() as text) as xid,
            (select json_agg(json_build_array(id, at, type, command_id, batch_id) order by id) from emitted) as news,
            (select json_agg(w) from (
               select distinct c.batch_id, c.step_no, c.owner_id, c.task_id, t.public_id as task_public_id
               from changed c left join tasks t on t.id = c.task_id) as w) as works,
            (select json_agg(b) from (
               select ${batchColumns('counted')}, by = size as is_whole from counted where pending = 0) as b) as ended,
            (select json_agg(to_json(c)) from changed c join counted b on b.id = c.batch_id
             where b.pending = 0 and b.by = b.size) as commands,
            (select json_agg(to_json(rung) order by id) from rung) as outbox`,
);

/** Record those of the changes that find their row as they expect it; each command at most once in `changes`. */
export async function recordUsualChanges(db: Db, changes: readonly UsualChange[]): Promise<UsualRecord> {
  const row = await queryOne<StoredRecord>(db, usualRecord(changes.length), {
    margin_ms: UNKNOWN_MARGIN_MS,
    rows: recordsFor(
      changes.length,
      changes.map(({ change, agentId, journalId, digest, from }) => ({
        ...changeRecord(change),
        agent_id: agentId,
        journal_id: journalId,
        digest,
        from_states: from,
      })),
    ),
  });
  const changed = new Set<string>();
  for (const [, , , commandId] of row?.news ?? []) if (commandId !== null) changed.add(commandId);
  return {
    changed,
    finished: finishedOf(row),
    events: eventsOf(row, changes),
    outbox: outboxOfJson(row?.outbox ?? []),
  };
}

/**
 * What the statement answers with: of each event only what the database alone knows, and what tells it from its
 * siblings. The rows of a thousand commands would cost more than writing them.
 */
interface StoredRecord {
  xid: string;
  news: [id: number, at: string, type: EventRow['type'], commandId: string | null, batchId: string][] | null;
  /** What the commands of a batch have in common. */
  works:
    | {
        batch_id: string;
        step_no: number | null;
        owner_id: string;
        task_id: string | null;
        task_public_id: string | null;
      }[]
    | null;
  ended: StoredJson<StoredBatch & { is_whole: boolean }>[] | null;
  commands: StoredJson<StoredCommand>[] | null;
  outbox: StoredJson<StoredOutbox>[] | null;
}

function finishedOf(row: StoredRecord | undefined): UsualRecord['finished'] {
  const commands = (row?.commands ?? []).map((command) => rowToCommand(withDates(command, commandTimes)));
  return (row?.ended ?? [])
    .filter((batch) => batch.is_whole)
    .map((batch) => ({
      batch: rowToBatch(withDates(batch, batchTimes)),
      commands: commands.filter((command) => command.batchId === batch.id),
    }));
}

/** The events as they were written, out of what was said and what the statement answered. */
function eventsOf(row: StoredRecord | undefined, changes: readonly UsualChange[]): EventRow[] {
  const saidOf = new Map(changes.map((said) => [said.change.commandId, said]));
  const workOf = new Map((row?.works ?? []).map((work) => [work.batch_id, work]));
  return (row?.news ?? []).map(([id, at, type, commandId, batchId]): EventRow => {
    const said = commandId === null ? undefined : saidOf.get(commandId);
    const work = workOf.get(batchId);
    const step = work?.step_no ?? null;
    const taskId = work?.task_id ?? null;
    return {
      ...{ id, xid: row?.xid ?? '', at: new Date(at), type, taskId, batchId, commandId },
      taskPublicId: work?.task_public_id ?? null,
      agentId: said?.agentId ?? null,
      ownerId: work?.owner_id ?? null,
      data: dataOf(type, step, taskId, said?.change),
    };
  });
}

/** What `news` of the statement writes. */
function dataOf(
  type: EventRow['type'],
  step: number | null,
  taskId: string | null,
  change: CommandChange | undefined,
): EventRow['data'] {
  if (type === 'command.finished')
    return {
      step,
      state: change?.state,
      exitCode: change?.final?.exitCode ?? null,
      reason: change?.final?.reason ?? null,
    };
  return type === 'batch.finished' && taskId === null ? {} : { step };
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
