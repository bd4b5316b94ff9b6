/** Put a batch on the ledger: its act, its row and its commands. */
import { UNKNOWN_MARGIN_MS } from '../contracts/command-states.ts';
import type { ActRow } from './acts.ts';
import { type Queryable, query } from './database.ts';

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
