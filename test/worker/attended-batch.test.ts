/** A batch that is attended by the process that sent it out: what becomes of it, whoever looks or dies when. */
import { createHash, randomUUID } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createTaskBodySchema } from '../../contracts/tasks.ts';
import { type StepRef, taskWorkflowId } from '../../contracts/workflow-io.ts';
import { hangBatchBell } from '../../db/batch-bells.ts';
import { createDatabase, type Db, inTransaction, query, queryOne } from '../../db/database.ts';
import { recordReports } from '../../domain/commands/record.ts';
import type { Report } from '../../domain/commands/report.ts';
import type { Actor } from '../../domain/deps.ts';
import { systemPrincipal } from '../../domain/identity/identify.ts';
import { type Attendance, createAttendance } from '../../domain/tasks/attendance.ts';
import { createTask } from '../../domain/tasks/create.ts';
import { cancelTask } from '../../domain/tasks/end.ts';
import { type EngineDeps, endTask, proposeStep } from '../../domain/tasks/engine.ts';
import { takeSteps } from '../../domain/tasks/take-steps.ts';
import { createMockPort } from '../../llm/mock.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { until } from '../workflows/scripted-worker.ts';
import { createTestDomain } from './deps.ts';

const actor: Actor = {
  principal: systemPrincipal({ agentTokenAdmin: true }),
  address: null,
  requestId: null,
};
const EMPTY_SHA256 = createHash('sha256').digest('hex');
const NEVER = new AbortController().signal;

let database: TestDatabase;
let db: Db;
let deps: EngineDeps;
let ref: StepRef;

beforeAll(async () => {
  database = await createTestDatabase();
  db = createDatabase({ url: database.url, poolMax: 4, applicationName: 'attended-batch-test' });
  deps = { ...createTestDomain(db), llm: createMockPort(), agentTokenAdmin: true };
  await db.raw("insert into agents (id, hostname, delivery) values ('worker-1', 'host', 'websocket')");
});

afterAll(async () => {
  await db.destroy();
  await database.drop();
});

beforeEach(async () => {
  const body = createTaskBodySchema.parse({
    goal: 'run `true` then `echo 2`',
    mode: 'auto',
    preApproved: ['true', 'echo 2'],
    target: { agentId: 'worker-1' },
  });
  const { task } = await createTask(deps, actor, body, { idempotencyKey: null });
  ref = { taskId: task.id, runNo: 1, step: 1 };
});

/** The workflow that is told of each batch of the task, oldest first. */
const bells = async (): Promise<(string | null)[]> =>
  (
    await query<{ workflow_id: string | null }>(
      db,
      'select workflow_id from batches where task_id = :id order by created_at, id',
      { id: ref.taskId },
    )
  ).map((row) => row.workflow_id);

/** The batches come in, as an agent's report would have it. */
const bringIn = async (): Promise<void> => {
  await db.raw(
    `update commands set state = 'sent', sent_at = now() where task_id = '${ref.taskId}' and state = 'queued'`,
  );
  await db.raw(
    `update commands set state = 'succeeded', exit_code = 0, finished_at = now()
     where task_id = '${ref.taskId}' and state = 'sent'`,
  );
  await db.raw(`update batches set pending = 0 where task_id = '${ref.taskId}'`);
};

const attendEverything = () => true;
const nothing = { bytes: 0, totalBytes: 0, sha256: EMPTY_SHA256, truncated: false };

it('without attendance the workflow is told from the start', async () => {
  expect(await takeSteps(deps, ref, NEVER)).toMatchObject({ kind: 'running', step: 1 });
  expect(await bells()).toEqual([taskWorkflowId(ref.taskId, 1)]);
});

it('a step that is approved with its proposal has the rows of one that is approved after it', async () => {
  await proposeStep(deps, ref, NEVER);
  const step = await queryOne<{ isComplete: boolean; decision: string; decided_name: string }>(
    db,
    `select decision, decided_name,
            decided_kind = 'system' and decided_id = creator_id and decision_reason = 'pre-approved on the task'
            and decided_at >= proposed_at - interval '1 s'
            and batch_id = (select id from batches b where b.task_id = steps.task_id) as "isComplete"
     from steps join tasks on tasks.id = steps.task_id where task_id = :id`,
    { id: ref.taskId },
  );
  expect(step).toEqual({ decision: 'approve', decided_name: actor.principal.name, isComplete: true });
  const events = await query<{ type: string }>(
    db,
    `select type from events where task_id = :id and type in ('task.proposed', 'task.decided', 'task.step_started')
     order by id`,
    { id: ref.taskId },
  );
  expect(events.map(({ type }) => type)).toEqual(['task.proposed', 'task.decided', 'task.step_started']);
  const audits = await query<{ action: string; principal_name: string }>(
    db,
    `select action, principal_name from audit_events
     where target_id = '${ref.taskId}/1/1' and target_kind = 'step'`,
  );
  expect(audits).toEqual([{ action: 'step.approve', principal_name: actor.principal.name }]);
});

describe('whoever attended it died', () => {
  beforeEach(async () => {
    expect(await proposeStep(deps, ref, NEVER, attendEverything)).toMatchObject({ kind: 'running' });
    expect(await bells()).toEqual([null]);
  });

  it('the next attempt leaves the batch to the workflow, and sends nothing out again', async () => {
    expect(await takeSteps(deps, ref, NEVER)).toMatchObject({ kind: 'running', step: 1 });
    expect(await bells()).toEqual([taskWorkflowId(ref.taskId, 1)]);
  });

  it('and the batch came in meanwhile: the next attempt says so', async () => {
    await bringIn();
    expect(await takeSteps(deps, ref, NEVER)).toEqual({ kind: 'again', step: 1 });
  });

  it('and somebody cancels: the workflow waits for what still runs', async () => {
    await db.raw(
      `update commands set state = 'sent', sent_at = now() where task_id = '${ref.taskId}' and state = 'queued'`,
    );
    await cancelTask(deps, actor, ref.taskId, undefined, null);
    expect(await bells()).toEqual([taskWorkflowId(ref.taskId, 1)]);
  });

  it('and the workflow ends the task: it is told of the batch that it waits for', async () => {
    await db.raw(
      `update commands set state = 'sent', sent_at = now() where task_id = '${ref.taskId}' and state = 'queued'`,
    );
    const ending = { taskId: ref.taskId, runNo: 1, end: 'expired', reason: 'deadline' } as const;
    expect(await endTask(deps, ending)).toMatchObject({ kind: 'draining' });
    expect(await bells()).toEqual([taskWorkflowId(ref.taskId, 1)]);
  });
});

describe('the bell is hung in the moment in which the batch comes in', () => {
  const journalId = randomUUID();
  let batchId: string;
  let commandId: string;
  let digest: string;

  beforeEach(async () => {
    const outcome = await proposeStep(deps, ref, NEVER, attendEverything);
    if (outcome.kind !== 'running') throw new Error(`the step is ${outcome.kind}`);
    batchId = outcome.batchId;
    await db.raw(
      `update commands set state = 'sent', sent_at = now(), sent_journal_id = '${journalId}'
       where batch_id = '${batchId}'`,
    );
    const row = await queryOne<{ command_id: string; digest: string }>(
      db,
      'select command_id, digest from commands where batch_id = :id',
      { id: batchId },
    );
    commandId = row?.command_id ?? '';
    digest = row?.digest ?? '';
  });

  const resultOf = (outcome: 'succeeded' | 'unknown'): Report => ({
    agentId: 'worker-1',
    journalId,
    frame: {
      type: 'result',
      commandId,
      digest,
      outcome,
      exitCode: outcome === 'succeeded' ? 0 : null,
      signal: null,
      reason: null,
      startedAt: null,
      finishedAt: null,
      durationMs: 1,
      stdout: nothing,
      stderr: nothing,
    },
  });

  // The usual report is one statement, any other one a transaction of several: both must see the bell.
  it.each(['succeeded', 'unknown'] as const)('first: whoever records %s rings it', async (outcome) => {
    let recording: Promise<unknown> | undefined;
    await inTransaction(db, async (trx) => {
      expect(await hangBatchBell(trx, batchId, 'task/x/1')).toBe(true);
      recording = recordReports(deps, [resultOf(outcome)]);
      await untilBlocked();
    });
    await recording;
    const rung = await query(db, `select payload from outbox where workflow_id = 'task/x/1'`);
    expect(rung).toEqual([{ payload: { name: 'batchFinished', arg: { batchId } } }]);
    await db.raw(`delete from outbox where workflow_id = 'task/x/1'`);
  });

  it('too late: it is not hung, and whoever wanted to knows', async () => {
    let hanging: Promise<boolean> | undefined;
    await inTransaction(db, async (trx) => {
      await query(trx, 'update batches set pending = 0 where id = :id', { id: batchId });
      hanging = hangBatchBell(db, batchId, 'task/x/1');
      await untilBlocked();
    });
    expect(await hanging).toBe(false);
    expect(await bells()).toEqual([null]);
  });

  const untilBlocked = (): Promise<void> =>
    until('a statement waits for the lock', async () => {
      const waiting = await query(
        db,
        `select pid from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`,
      );
      return waiting.length > 0;
    });
});

describe('attended', () => {
  /** Plays the agent: what is attended comes in, and the process is told. Only the first `steps` batches. */
  function bringInAttended(steps: number): Attendance {
    const attendance = createAttendance({ places: 1 });
    let left = steps;
    return {
      ...attendance,
      attend(batchId) {
        const attended = attendance.attend(batchId);
        if (attended === undefined) return undefined;
        return {
          ...attended,
          async heard(timeoutMs, signal) {
            if (left-- <= 0) return attended.heard(1, signal);
            await bringIn();
            attendance.tell([batchId]);
            return attended.heard(timeoutMs, signal);
          },
        };
      },
    };
  }

  it('goes on to the end of the task, step after step', async () => {
    const outcome = await takeSteps({ ...deps, attendance: bringInAttended(2) }, ref, NEVER);
    expect(outcome).toEqual({ kind: 'ended', end: 'completed', step: 3 });
    expect(await bells()).toEqual([null, null]);
    const signals = await query(db, `select id from outbox where kind = 'signal' and workflow_id = :id`, {
      id: taskWorkflowId(ref.taskId, 1),
    });
    expect(signals).toEqual([]);
  });

  it('leaves the step that takes longer to the workflow', async () => {
    const outcome = await takeSteps({ ...deps, attendance: bringInAttended(1) }, ref, NEVER);
    expect(outcome).toMatchObject({ kind: 'running', step: 2 });
    expect(await bells()).toEqual([null, taskWorkflowId(ref.taskId, 1)]);
  });

  it('does not believe what it hears', async () => {
    const attendance = createAttendance({ places: 1 });
    const lying: Attendance = {
      ...attendance,
      attend(batchId) {
        const attended = attendance.attend(batchId);
        attendance.tell([batchId]);
        return attended;
      },
    };
    expect(await takeSteps({ ...deps, attendance: lying }, ref, NEVER)).toMatchObject({
      kind: 'running',
      step: 1,
    });
    expect(await bells()).toEqual([taskWorkflowId(ref.taskId, 1)]);
  });

  it('begins no further step once it is canceled', async () => {
    const canceling = new AbortController();
    const attendance = bringInAttended(2);
    const outcome = await takeSteps(
      {
        ...deps,
        attendance: {
          ...attendance,
          attend(batchId) {
            canceling.abort();
            return attendance.attend(batchId);
          },
        },
      },
      ref,
      canceling.signal,
    );
    expect(outcome).toEqual({ kind: 'again', step: 1 });
    expect(await bells()).toEqual([null]);
  });
});
