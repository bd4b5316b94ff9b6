/** Put a batch on the ledger: its act, its row and its commands. */
import { UNKNOWN_MARGIN_MS } from '../contracts/command-states.ts';
import type { ActRow } from './acts.ts';
import { type AuditEntry, auditRecord } from './audit-events.ts';
import { type Db, type Queryable, query, queryOne } from './database.ts';
import type { EventRow } from './events.ts';
import { type RecordReader, recordsFor, statementOfRecords } from './records.ts';

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
 * `with` parts that insert act, batch and commands; the part `inserted` says which commands. A command is `sent` where
 * the agent's socket is right here at the given epoch, else `queued`. An id that exists already is left out.
 * @param condition whether anything is inserted at all
 */
const insertParts = (read: RecordReader, condition: string): string => `kept as (
       insert into acts (digest, act, task_run, step_no, proposal_id)
       select :digest, cast(:act as jsonb), :task_run, cast(:act_step_no as integer), :proposal_id where ${condition}
       on conflict (digest) do nothing
     ), batch as (
       insert into batches (id, task_id, run_no, step_no, workflow_id, digest, size, pending)
       select cast(:batch_id as uuid), cast(:task_id as uuid), cast(:run_no as integer), cast(:step_no as integer),
              :workflow_id, :digest, cast(:size as integer), cast(:size as integer) where ${condition}
     ), wanted as (
       select command_id, agent_id from ${read}(cast(:commands as jsonb)) as w(command_id uuid, agent_id text)
       where ${condition}
     ), here as (
       -- One by one and in order: a join's plan, made while a table was small, is far slower for a thousand agents.
       select l.agent_id, l.epoch, c.journal_id
       from (select * from ${read}(cast(:local as jsonb)) as l(agent_id text, epoch bigint) order by agent_id) as l
       cross join lateral (
         select c.journal_id from agent_connections c where c.agent_id = l.agent_id and c.epoch = l.epoch for share
       ) as c
     ), inserted as (
       insert into commands as c (command_id, batch_id, agent_id, digest, task_id, run_no, step_no, attempt, state,
                             creator_kind, creator_id, creator_name, owner_id, timeout_ms, output_cap_bytes,
                             expires_at, sent_at, sent_epoch, sent_journal_id, overdue_at)
       select w.command_id, cast(:batch_id as uuid), w.agent_id, :digest, cast(:task_id as uuid),
              cast(:run_no as integer), cast(:step_no as integer), cast(:attempt as integer),
              case when h.agent_id is null then 'queued' else 'sent' end,
              :creator_kind, :creator_id, :creator_name, :owner_id, cast(:timeout_ms as bigint),
              cast(:output_cap_bytes as bigint), now() + make_interval(secs => :expiry_seconds),
              case when h.agent_id is null then null else now() end, h.epoch, h.journal_id,
              case when h.agent_id is null then null else now() + make_interval(secs => :overdue_seconds) end
       from wanted w left join here h on h.agent_id = w.agent_id
       on conflict (command_id) do nothing
       returning c.command_id, c.agent_id, c.state
     )`;

const bindingsOf = (input: NewBatchRows) => {
  const { act, binding, digest } = input.act;
  return {
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
    agent_ids: input.commands.map((command) => command.agentId),
    commands: recordsFor(
      input.commands.length,
      input.commands.map((c) => ({ command_id: c.commandId, agent_id: c.agentId })),
    ),
    local: recordsFor(
      input.commands.length,
      [...input.local].map(([agentId, epoch]) => ({ agent_id: agentId, epoch })),
    ),
    attempt: input.attempt,
    creator_kind: input.creator.kind,
    creator_id: input.creator.id,
    creator_name: input.creator.name,
    owner_id: input.ownerId,
    timeout_ms: act.timeoutMs,
    output_cap_bytes: act.outputCapBytes,
    expiry_seconds: act.expiryMs / 1000,
    overdue_seconds: (act.expiryMs + UNKNOWN_MARGIN_MS) / 1000,
  };
};

/** A command as it was inserted. */
export interface InsertedCommand {
  commandId: string;
  agentId: string;
  state: 'queued' | 'sent';
}

interface StoredInserted {
  command_id: string;
  agent_id: string;
  state: 'queued' | 'sent';
}

const rowToInserted = (row: StoredInserted): InsertedCommand => ({
  commandId: row.command_id,
  agentId: row.agent_id,
  state: row.state,
});

const batchInsert = statementOfRecords(
  (read) => `with ${insertParts(read, 'true')} select command_id, agent_id, state from inserted`,
);

/**
 * Insert act, batch and commands in one statement.
 * @returns what was inserted. An id that exists already is left out: the caller compares.
 */
export async function insertBatchRows(db: Queryable, input: NewBatchRows): Promise<InsertedCommand[]> {
  const rows = await query<StoredInserted>(db, batchInsert(input.commands.length), bindingsOf(input));
  return rows.map(rowToInserted);
}

const usualInsert = statementOfRecords(
  (read) => `with usable as materialized (
       select count(*) = cast(:size as integer) as are_all
       from unnest(cast(:agent_ids as text[])) as w(id)
       cross join lateral (
         select from agents a
         where a.id = w.id and a.revoked_at is null and a.delivery = 'websocket'
           and (cast(:default_shell as text) is null or a.default_shell = :default_shell)
         offset 0
       ) as a
     ), ${insertParts(read, '(select are_all from usable)')}, audited as (
       insert into audit_events (principal_kind, principal_id, principal_name, session_id, address, request_id,
                                 action, target_kind, target_id, outcome, details)
       select principal_kind, principal_id, principal_name, session_id, address, request_id,
              action, target_kind, target_id, outcome, details
       from jsonb_to_record(cast(:audit as jsonb)) as r(
         principal_kind text, principal_id text, principal_name text, session_id uuid, address text, request_id text,
         action text, target_kind text, target_id text, outcome text, details jsonb)
       where (select are_all from usable)
     ), emitted as (
       insert into events (type, command_id, batch_id, agent_id, owner_id, data)
       select case when state = 'sent' then 'command.sent' else 'command.queued' end, command_id,
              cast(:batch_id as uuid), agent_id, :owner_id, jsonb_build_object('step', null)
       from inserted
       returning id, at, type, command_id
     )
     select cast(pg_current_xact_id() as text) as xid,
            (select json_agg(json_build_array(id, at, type, command_id) order by id) from emitted) as news
     from usable where are_all`,
);

/** A batch that is inserted without a look at its agents first. */
export interface UsualBatchRows extends NewBatchRows {
  audit: AuditEntry;
  /** The default shell that every agent must have, where the act was made for it; null when no agent's matters. */
  defaultShell: string | null;
}

/**
 * Insert an ad-hoc batch with its audit row and its events, in one statement that is a transaction of its own. It
 * writes what `insertBatch` (domain/commands/insert.ts) writes; a test compares the rows of both.
 * @returns undefined when an agent is unknown or revoked, gets its commands another way than by its socket, or has
 *   another default shell: then nothing was written
 */
export async function insertUsualBatch(
  db: Db,
  input: UsualBatchRows,
): Promise<{ commands: InsertedCommand[]; events: EventRow[] } | undefined> {
  const statement = usualInsert(input.commands.length);
  const row = await queryOne<{ xid: string; news: EmittedParts[] | null }>(db, statement, {
    ...bindingsOf(input),
    default_shell: input.defaultShell,
    audit: JSON.stringify(auditRecord(input.audit)),
  });
  if (row === undefined) return undefined;
  const agentOf = new Map(input.commands.map(({ commandId, agentId }) => [commandId, agentId]));
  const commands: InsertedCommand[] = [];
  const events: EventRow[] = [];
  for (const [id, at, type, commandId] of row.news ?? []) {
    const agentId = agentOf.get(commandId) ?? '';
    commands.push({ commandId, agentId, state: type === 'command.sent' ? 'sent' : 'queued' });
    const { batchId, ownerId } = input;
    const refs = { taskId: null, taskPublicId: null, commandId, batchId, agentId, ownerId };
    events.push({ id, xid: row.xid, at: new Date(at), type, ...refs, data: { step: null } });
  }
  return { commands, events };
}

/**
 * What the database alone knows of an event that the statement inserted, and what tells it from its siblings. The
 * statement was given the rest: a batch of a thousand commands would send it all back, twice.
 */
type EmittedParts = [id: number, at: string, type: 'command.sent' | 'command.queued', commandId: string];
