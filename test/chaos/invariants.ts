/**
 * What must hold once everything is back and quiet, whatever was killed in between. Each broken rule is one line that
 * names the promise and the rows.
 */
import { createHash } from 'node:crypto';
import { Client, Connection } from '@temporalio/client';
import type { TimelineItem } from '../../contracts/tasks.ts';
import { taskWorkflowId } from '../../contracts/workflow-io.ts';
import { query } from '../../db/database.ts';
import { verifySeals } from '../../domain/audit/verify.ts';
import type { Installation } from '../support/installation.ts';
import type { Effects } from './effects.ts';

const QUIET_TIMEOUT_MS = 90_000;

interface CommandFacts {
  id: string;
  state: string;
  started: boolean;
  stdoutBytes: number;
  sha256: string | null;
  finishedEvents: number;
  startedEvents: number;
}

interface TaskFacts {
  id: string;
  runNo: number;
  state: string;
  sealed: boolean;
  steps: number;
  lastStep: number;
}

/** Nothing is open, undelivered or unsealed any more (of one task, when given). @throws with what still is */
export async function waitUntilQuiet(
  installation: Installation,
  { taskId = null, timeoutMs = QUIET_TIMEOUT_MS }: { taskId?: string | null; timeoutMs?: number } = {},
): Promise<void> {
  await installation.until(
    async () => {
      const [row] = await query<Record<string, unknown>>(
        installation.db,
        `with open_tasks as (
           select id, state, step_no, waiting_reason from tasks
           where ended_at is null and (cast(:task_id as uuid) is null or id = :task_id)
         ), open_commands as (
           select command_id, state, agent_id, sent_epoch, stdout_bytes from commands
           where state in ('queued', 'sent', 'running') and (cast(:task_id as uuid) is null or task_id = :task_id)
         ), open_batches as (
           select id from batches
           where (pending > 0 or finished_at is null) and (cast(:task_id as uuid) is null or task_id = :task_id)
         ), undelivered as (
           select workflow_id, kind, attempts, last_error from outbox
           where cast(:task_id as uuid) is null or workflow_id like '%' || cast(:task_id as text) || '%'
         )
         select (select count(*) from open_tasks) as tasks, (select count(*) from open_commands) as commands,
                (select count(*) from open_batches) as batches, (select count(*) from undelivered) as outbox,
                (select count(*) from audit_events where seal_no is null) as unsealed,
                (select json_agg(t) from (select * from open_tasks limit 5) t) as "openTasks",
                (select json_agg(c) from (select * from open_commands limit 5) c) as "openCommands",
                (select json_agg(o) from (select * from undelivered limit 5) o) as waiting`,
        { task_id: taskId },
      );
      return row ?? {};
    },
    (row) => ['tasks', 'commands', 'batches', 'outbox', 'unsealed'].every((name) => Number(row[name]) === 0),
    'quiet',
    timeoutMs,
  );
}

/** Every broken rule (of one task, when given); empty when all hold. Call it when quiet. */
export async function findViolations(
  installation: Installation,
  effects: Effects,
  taskId: string | null = null,
): Promise<string[]> {
  const { db } = installation;
  const commands = await query<CommandFacts>(
    db,
    `select c.command_id as id, c.state, c.started_at is not null as started, c.stdout_bytes as "stdoutBytes",
            c.stdout_sha256 as sha256,
            (select count(*) from events e where e.command_id = c.command_id and e.type = 'command.finished')
              as "finishedEvents",
            (select count(*) from events e where e.command_id = c.command_id and e.type = 'command.started')
              as "startedEvents"
     from commands c where cast(:task_id as uuid) is null or c.task_id = :task_id`,
    { task_id: taskId },
  );
  const tasks = await query<TaskFacts>(
    db,
    `select t.id, t.run_no as "runNo", t.state, t.seal_sha256 is not null as sealed,
            (select count(*) from steps s where s.task_id = t.id) as steps,
            (select coalesce(max(step_no), 0) from steps s where s.task_id = t.id) as "lastStep"
     from tasks t where cast(:task_id as uuid) is null or t.id = :task_id`,
    { task_id: taskId },
  );
  return [
    ...findEffectFaults(commands, effects.counts()),
    ...(taskId === null ? findStrayEffects(commands, effects.counts()) : []),
    ...commands.flatMap(findOutcomeFaults),
    ...tasks.flatMap(findTaskFaults),
    ...(await findOutputFaults(installation, commands)),
    ...(await findAuditFaults(installation)),
    ...(await findWorkflowFaults(installation, tasks)),
    ...(await findTimelineFaults(installation, tasks)),
  ];
}

/** P1 and P3: what the file of effects says against what the ledger says. */
function findEffectFaults(commands: readonly CommandFacts[], counts: ReadonlyMap<string, number>): string[] {
  const faults: string[] = [];
  for (const { id, state, started } of commands) {
    const count = counts.get(id) ?? 0;
    if (count > 1) faults.push(`P1: ${state} command ${id} was started ${count} times`);
    if (['succeeded', 'failed', 'timed_out'].includes(state) && count !== 1)
      faults.push(`P3: ${state} command ${id} had ${count} effects`);
    const hadNone = state === 'rejected' || state === 'expired' || (state === 'canceled' && !started);
    if (hadNone && count !== 0) faults.push(`P3: ${state} command ${id} had ${count} effects`);
  }
  return faults;
}

function findStrayEffects(commands: readonly CommandFacts[], counts: ReadonlyMap<string, number>): string[] {
  const known = new Set(commands.map((command) => command.id));
  return [...counts.keys()]
    .filter((id) => !known.has(id))
    .map((id) => `P3: ${id} was started and is in no ledger`);
}

/** P2: one final outcome. */
function findOutcomeFaults({ id, state, finishedEvents, startedEvents }: CommandFacts): string[] {
  const faults: string[] = [];
  if (['queued', 'sent', 'running'].includes(state)) faults.push(`P2: command ${id} is still ${state}`);
  if (finishedEvents !== 1) faults.push(`P2: command ${id} (${state}) finished ${finishedEvents} times`);
  if (startedEvents > 1) faults.push(`P2: command ${id} (${state}) reported ${startedEvents} starts`);
  return faults;
}

function findTaskFaults({ id, state, sealed, steps, lastStep }: TaskFacts): string[] {
  const faults: string[] = [];
  if (!['completed', 'failed', 'canceled', 'expired'].includes(state)) faults.push(`task ${id} is ${state}`);
  else if (!sealed) faults.push(`task ${id} is ${state} without a seal`);
  if (steps !== lastStep) faults.push(`task ${id} has ${steps} steps, the last is number ${lastStep}`);
  return faults;
}

/** P7: the stored bytes are the bytes the agent hashed, without a gap. */
async function findOutputFaults({ db }: Installation, commands: readonly CommandFacts[]): Promise<string[]> {
  const faults: string[] = [];
  for (const { id, state, stdoutBytes, sha256 } of commands) {
    const chunks = await query<{ offset: number; bytes: Buffer }>(
      db,
      `select byte_offset as "offset", bytes from command_output
       where command_id = :id and stream = 'stdout' order by byte_offset`,
      { id },
    );
    let next = 0;
    for (const chunk of chunks) {
      if (chunk.offset !== next) faults.push(`P7: output of ${id} has a gap at ${next}`);
      next = chunk.offset + chunk.bytes.length;
    }
    if (next !== stdoutBytes)
      faults.push(`P7: output of ${id} is ${next} bytes, the row says ${stdoutBytes}`);
    const hash = createHash('sha256')
      .update(Buffer.concat(chunks.map((chunk) => chunk.bytes)))
      .digest('hex');
    if (state === 'succeeded' && sha256 !== hash)
      faults.push(`P7: output of ${id} hashes to ${hash}, the agent said ${sha256}`);
  }
  return faults;
}

/** P6: sealed without a fault, and no batch without its audit row of the same or an earlier moment. */
async function findAuditFaults({ db }: Installation): Promise<string[]> {
  const verdict = await verifySeals(db);
  const faults = verdict.ok ? [] : [`audit seals do not verify: ${JSON.stringify(verdict)}`];
  const bare = await query<{ id: string }>(
    db,
    `select b.id from batches b where not exists (select 1 from audit_events a
       where a.action = 'command.run' and a.target_id = cast(b.id as text) and a.seal_no is not null)`,
  );
  return [...faults, ...bare.map(({ id }) => `P6: batch ${id} has no sealed audit row`)];
}

/** The workflow of every task ended as its row did. */
async function findWorkflowFaults(
  installation: Installation,
  tasks: readonly TaskFacts[],
): Promise<string[]> {
  const faults: string[] = [];
  const connection = await Connection.connect({ address: installation.temporalAddress });
  try {
    const client = new Client({ connection });
    for (const { id, runNo } of tasks) {
      const handle = client.workflow.getHandle(taskWorkflowId(id, runNo));
      // The last activity commits before its workflow ends.
      await installation
        .until(
          async () => (await handle.describe()).status.name,
          (name) => name !== 'RUNNING',
          `end of ${id}`,
        )
        .then(
          (name) => name !== 'COMPLETED' && faults.push(`workflow of task ${id} is ${name}`),
          (error: unknown) => faults.push(`workflow of task ${id}: ${String(error)}`),
        );
    }
  } finally {
    await connection.close();
  }
  return faults;
}

/** Who, what and how it ended: each fact once. */
async function findTimelineFaults(
  installation: Installation,
  tasks: readonly TaskFacts[],
): Promise<string[]> {
  const faults: string[] = [];
  for (const { id, state, steps } of tasks) {
    const { items } = await installation.call<{ items: TimelineItem[] }>('GET', `/v1/tasks/${id}/timeline`);
    const count = (type: string): number => items.filter((item) => item.type === type).length;
    const problems = [
      count('created') === 1 ? '' : `${count('created')} × created`,
      count('proposed') === steps ? '' : `${count('proposed')} × proposed for ${steps} steps`,
      items.filter((item) => item.type === state && item.step === null).length === 1
        ? ''
        : `no single ${state}`,
    ].filter((problem) => problem !== '');
    if (problems.length > 0)
      faults.push(
        `timeline of task ${id}: ${problems.join(', ')}: ${items.map((item) => item.type).join(' ')}`,
      );
  }
  return faults;
}
