/** What follows from the outcome of an executed step: another attempt or a verdict, decided under the task's lock. */
import type pg from 'pg';
import { v7 as uuidv7 } from 'uuid';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';

import { createTaskBodySchema } from '../../contracts/tasks.ts';
import { inTransaction, type Trx } from '../../db/database.ts';
import { listStepPlans } from '../../db/step-plans.ts';
import { listNewestCommands, listNewestSteps } from '../../db/task-history.ts';
import { findTaskByPublicId } from '../../db/tasks.ts';
import { listToolRuns } from '../../db/tool-runs.ts';
import { insertUser, type UserRole } from '../../db/users.ts';
import { markOverdueUnknown } from '../../domain/commands/overdue.ts';
import type { Actor } from '../../domain/deps.ts';
import { createHubTools } from '../../domain/hub-tools/run.ts';
import { canonicalName } from '../../domain/identity/canonical-name.ts';
import { archiveTask } from '../../domain/tasks/archive.ts';
import { createTask } from '../../domain/tasks/create.ts';
import { decide } from '../../domain/tasks/decide.ts';
import { executeStep } from '../../domain/tasks/execute-step.ts';
import { readHistory } from '../../domain/tasks/history.ts';
import { judgeStep } from '../../domain/tasks/judge-step.ts';
import { proposeOnce } from '../../domain/tasks/propose-once.ts';
import { getStepView } from '../../domain/tasks/read.ts';
import { reportStatus } from '../../domain/tasks/report-status.ts';
import { runTaskTools } from '../../domain/tasks/run-task-tools.ts';
import type { StepAddress } from '../../domain/tasks/step-address.ts';
import { readStepHistories } from '../../domain/tasks/step-history.ts';
import { readStepProgress } from '../../domain/tasks/step-outcome.ts';
import { LlmError, type LlmPort } from '../../llm/port.ts';
import { type House, startHouse, type TestAgent } from '../support/house.ts';

let house: House;
let agent: TestAgent;
let operator: Actor;
beforeAll(async () => {
  house = await startHouse();
  agent = await house.connect(await house.addAgent('judge-1'));
});
afterAll(() => house.close());
beforeEach(async () => {
  operator = await addActor('operator');
});

async function addActor(role: UserRole): Promise<Actor> {
  const id = uuidv7();
  const name = `${role}-${id}`;
  await insertUser(house.db, {
    id,
    username: name,
    canonicalName: canonicalName(name),
    email: null,
    canonicalEmail: null,
    role,
    passwordHash: 'x',
    mustChangePassword: false,
  });
  return {
    principal: { kind: 'user', id, name, roles: [role], sessionId: null },
    address: null,
    requestId: null,
  };
}

async function start(plan: {
  retries: number;
  retryDelayMs?: number;
}): Promise<StepAddress & { taskPublicId: string }> {
  const task = await house.createTask({ goal: 'try', mode: 'manual', target: { agentId: agent.agentId } });
  const execution = {
    act: { command: 'false' },
    retries: plan.retries,
    retryDelayMs: plan.retryDelayMs ?? 0,
  };
  const address = await executeStep(house.deps, operator, task.id, execution, null);
  return { ...address, taskPublicId: task.id };
}

/** Run what waits for the agent to its end. */
async function run(exitCode: number): Promise<string[]> {
  const claimed = await agent.claim();
  for (const commandId of claimed) {
    await agent.start(commandId);
    await agent.finish(commandId, { exitCode });
  }
  return claimed;
}

const judge = ({ taskId, runNo, stepNo }: StepAddress) =>
  judgeStep(house.deps, { taskId, runNo, step: stepNo });
const taskOf = async (publicId: string) => {
  const task = await findTaskByPublicId(house.db, publicId);
  if (task === undefined) throw new Error('no task');
  return task;
};
const attemptsOf = async ({ taskId }: StepAddress): Promise<[number, string][]> => {
  const rows = await house
    .db('commands')
    .select('attempt', 'state')
    .where({ task_id: taskId })
    .orderBy('attempt');
  return rows.map(({ attempt, state }) => [attempt, state]);
};

describe('after a failed attempt', () => {
  it('there is one more, however often and by how many at once it is asked for', async () => {
    const step = await start({ retries: 1 });
    await run(1);
    const answers = await Promise.all([judge(step), judge(step), judge(step)]);
    expect(answers.every(({ kind }) => kind === 'running')).toBe(true);
    expect(answers.every((answer) => answer.kind === 'running' && answer.judge === true)).toBe(true);
    expect(new Set(answers.map((answer) => (answer.kind === 'running' ? answer.batchId : ''))).size).toBe(1);
    expect(await attemptsOf(step)).toEqual([
      [1, 'failed'],
      [2, 'queued'],
    ]);
    await run(0);
    expect(await judge(step)).toEqual({ kind: 'ended', end: 'completed' });
    expect(await judge(step)).toEqual({ kind: 'ended', end: 'completed' });
    const verdicts = await house.db('events').where({ type: 'task.step_judged', task_id: step.taskId });
    expect(verdicts).toHaveLength(1);
    expect(await taskOf(step.taskPublicId)).toMatchObject({ state: 'completed' });
  });

  it('the next is due only when its pause is over', async () => {
    const step = await start({ retries: 1, retryDelayMs: 3_600_000 });
    await run(1);
    const answer = await judge(step);
    expect(answer).toMatchObject({ kind: 'judge', step: 1 });
    expect(answer.kind === 'judge' && answer.afterMs > 3_500_000).toBe(true);
    expect(await attemptsOf(step)).toEqual([[1, 'failed']]);
    await expect(
      executeStep(
        house.deps,
        operator,
        step.taskPublicId,
        { act: { command: 'true' }, retries: 0, retryDelayMs: 0 },
        null,
      ),
    ).rejects.toMatchObject({ code: 'command_running' });
  });

  it('nobody puts the task away while the next is due', async () => {
    const step = await start({ retries: 1, retryDelayMs: 3_600_000 });
    await run(1);
    const waiting = { status: 'waiting' } as const;
    await expect(reportStatus(house.deps, operator, step.taskPublicId, waiting)).rejects.toMatchObject({
      code: 'command_running',
    });
    const evenOpen = { evenOpen: true };
    await expect(archiveTask(house.deps, operator, step.taskPublicId, null, evenOpen)).rejects.toMatchObject({
      code: 'conflict',
    });
  });

  it('there is none in the name of somebody who may no longer execute', async () => {
    const step = await start({ retries: 3 });
    await run(1);
    await house.db('users').where({ id: operator.principal.id }).update({ role: 'viewer' });
    expect(await judge(step)).toEqual({ kind: 'ended', end: 'failed' });
    expect(await attemptsOf(step)).toEqual([[1, 'failed']]);
    expect(await taskOf(step.taskPublicId)).toMatchObject({ result: { reason: 'non_zero_exit_code' } });
  });

  it('there is none on an agent that was revoked', async () => {
    const other = await house.connect(await house.addAgent());
    const task = await house.createTask({ goal: 'try', mode: 'manual', target: { agentId: other.agentId } });
    const execution = { act: { command: 'false' }, retries: 3, retryDelayMs: 0 };
    const step = await executeStep(house.deps, operator, task.id, execution, null);
    for (const commandId of await other.claim()) {
      await other.start(commandId);
      await other.finish(commandId, { exitCode: 1 });
    }
    await house.db('agents').where({ id: other.agentId }).update({ revoked_at: new Date() });
    expect(await judge(step)).toEqual({ kind: 'ended', end: 'failed' });
    expect(await attemptsOf(step)).toEqual([[1, 'failed']]);
  });
});

describe('what the model is told of a step that was tried again', () => {
  it('is how its last attempt ended', async () => {
    const task = await house.createTask({ goal: 'try', target: { agentId: agent.agentId } });
    const execution = { act: { command: 'flaky' }, retries: 1, retryDelayMs: 0 };
    const step = await executeStep(house.deps, operator, task.id, execution, null);
    await run(1);
    await judge(step);
    const [second] = await agent.claim();
    if (second === undefined) throw new Error('there was no second attempt');
    await agent.start(second);
    await agent.write(second, 'stdout', Buffer.from('this time it worked'));
    await agent.finish(second, { exitCode: 0 });
    expect(await judge(step)).toMatchObject({ kind: 'again' });
    expect(await readHistory(house.db, await taskOf(task.id), 2)).toMatchObject([
      { step: 1, outcome: { state: 'succeeded', exitCode: 0, stdout: 'this time it worked' } },
    ]);
  });
});

describe('what may have started', () => {
  it('is never sent again while nobody knows its end', async () => {
    const step = await start({ retries: 3 });
    const [commandId] = await agent.claim();
    await house
      .db('commands')
      .where({ command_id: commandId })
      .update({ state: 'unknown', finished_at: new Date() });
    await house.db('batches').where({ task_id: step.taskId }).update({ pending: 0, finished_at: new Date() });
    expect(await judge(step)).toEqual({ kind: 'ended', end: 'failed' });
    expect(await attemptsOf(step)).toEqual([[1, 'unknown']]);
    expect(await taskOf(step.taskPublicId)).toMatchObject({ result: { reason: 'unknown' } });
  });

  it('is repeated undecided neither at once nor after a person said no to that', async () => {
    const admin = await addActor('admin');
    const body = { goal: 'list', mode: 'auto', preApproved: ['ls -l'], target: { agentId: agent.agentId } };
    const { task } = await createTask(house.deps, admin, createTaskBodySchema.parse(body), {
      idempotencyKey: null,
    });
    expect(await house.propose(task.id, 1)).toMatchObject({ kind: 'running' });
    const [commandId] = await agent.claim();
    await house
      .db('commands')
      .where({ command_id: commandId })
      .update({ overdue_at: new Date(0) });
    expect(await markOverdueUnknown(house.deps, 10)).toBe(1);
    expect(await house.propose(task.id, 2)).toMatchObject({ kind: 'awaiting', step: 2 });
    const { digest } = await getStepView(house.deps, admin, task.id, 2);
    const no = { decision: 'reject', step: 2, digest, reason: 'not again', final: false } as const;
    await decide(house.deps, admin, task.id, no, null);
    expect(await house.propose(task.id, 3)).toMatchObject({ kind: 'awaiting', step: 3 });
    await house.ask('POST', `/v1/tasks/${task.id}/cancel`, {});
  });

  it('is waited for', async () => {
    const step = await start({ retries: 3 });
    expect(await judge(step)).toMatchObject({ kind: 'running', judge: true });
    await house.ask('POST', `/v1/tasks/${step.taskPublicId}/cancel`, {});
    expect(await judge(step)).toEqual({ kind: 'ended', end: 'canceled' });
    expect(await attemptsOf(step)).toEqual([[1, 'canceled']]);
  });
});

describe('whoever gives up waiting', () => {
  const progress = (step: StepAddress & { taskPublicId: string }, isLast: boolean) =>
    readStepProgress(house.deps, operator, step.taskPublicId, step, { isLast });

  it('is told the outcome of what has ended for good, judged or not', async () => {
    const step = await start({ retries: 1 });
    expect(await progress(step, true)).toMatchObject({ kind: 'pending' });
    await run(1);
    expect(await progress(step, true)).toMatchObject({ kind: 'pending' }); // another attempt is due
    await judge(step);
    await run(0);
    expect(await progress(step, false)).toMatchObject({ kind: 'pending' });
    expect(await progress(step, true)).toMatchObject({
      kind: 'ended',
      step: { status: 'completed', exitCode: 0, attempts: 2, verdictReason: null },
    });
    await judge(step);
    expect(await progress(step, false)).toMatchObject({
      kind: 'ended',
      step: { verdictReason: 'insufficient_output_evidence' },
    });
  });
});

describe('the end of a task of a team', () => {
  async function endOf(output: string, { isOfTeam }: { isOfTeam: boolean }): Promise<unknown> {
    const task = await house.createTask({ goal: 'Fix the parser', target: { agentId: agent.agentId } });
    if (isOfTeam) {
      const teamId = uuidv7();
      await house.db('teams').insert({ id: teamId, name: teamId });
      await house.db('tasks').where({ public_id: task.id }).update({ team_id: teamId });
    }
    await house.propose(task.id, 1);
    await house.ask('POST', `/v1/tasks/${task.id}/execute`, {});
    for (const commandId of await agent.claim()) {
      await agent.start(commandId);
      await agent.write(commandId, 'stdout', Buffer.from(output));
      await agent.finish(commandId, { exitCode: 0 });
    }
    const usage = { model: 'scripted', inputTokens: 1, outputTokens: 1, costUsd: 0, mock: true };
    await house.propose(task.id, 2, { kind: 'done', success: true, summary: 'it is done', usage });
    const { state, result } = await taskOf(task.id);
    return [state, result?.reason, result?.summary];
  }

  it('needs what its last command printed to bear it out; elsewhere the model judges alone', async () => {
    expect(await endOf('all is finished', { isOfTeam: true })).toEqual([
      'failed',
      'missing_coding_quality_markers',
      'it is done',
    ]);
    expect(await endOf('12 tests passed', { isOfTeam: true })).toEqual(['completed', null, 'it is done']);
    expect(await endOf('all is finished', { isOfTeam: false })).toEqual(['completed', null, 'it is done']);
  });
});

describe('tools run for a task', () => {
  it('are kept, whatever bytes they have read', async () => {
    const step = await start({ retries: 0 });
    const [commandId] = await agent.claim();
    if (commandId === undefined) throw new Error('nothing was claimed');
    await agent.start(commandId);
    await agent.write(commandId, 'stdout', Buffer.from('a\0b'));
    await agent.finish(commandId, { exitCode: 0 });
    await judge(step);
    const deps = { ...house.deps, tools: createHubTools(house.deps) };
    const calls = [{ name: 'read_agent_logs', args: {} }];
    const admin = await addActor('admin');
    const ran = await runTaskTools(deps, admin, step.taskPublicId, calls, {
      isWhole: true,
      requestKey: null,
    });
    expect(ran).toMatchObject({ isSuccess: true });
    expect(ran.output).toContain('false');
    const [kept] = await listToolRuns(house.db, [step.taskId], 1);
    expect(kept).toMatchObject({ outcome: 'completed' });
    expect(JSON.stringify(kept?.results)).toContain('a\ufffdb');
  });
});

describe('tools that run while somebody executes a command', () => {
  it('leave the end of the task to the command', async () => {
    const task = await house.createTask({ mode: 'manual', target: { agentId: agent.agentId } });
    const tools = createHubTools(house.deps);
    const execution = { act: { command: 'true' }, retries: 0, retryDelayMs: 0 };
    const meanwhile: typeof tools.run = async () => {
      await executeStep(house.deps, operator, task.id, execution, null);
      return [];
    };
    const calls = [{ name: 'list_teams', args: {} }];
    const deps = { ...house.deps, tools: { ...tools, run: meanwhile } };
    await runTaskTools(deps, operator, task.id, calls, { isWhole: true, requestKey: null });
    const { id: taskId, state } = await taskOf(task.id);
    expect(state).toBe('running');
    expect(await attemptsOf({ taskId, runNo: 1, stepNo: 1 })).toEqual([[1, 'queued']]);
    await run(0);
    await judge({ taskId, runNo: 1, stepNo: 1 });
    expect(await taskOf(task.id)).toMatchObject({ state: 'completed' });
  });
});

describe('a proposal for no task', () => {
  it('asks the models it is compared with no further once it has failed itself', async () => {
    const stopped: boolean[] = [];
    const llm: LlmPort = {
      name: 'scripted',
      isMock: true,
      async propose(_request, { model, signal }) {
        if (model === undefined) throw new LlmError('llm_refused', 'no');
        return new Promise((_resolve, reject) => {
          const stop = () => {
            stopped.push(true);
            reject(signal.reason);
          };
          if (signal.aborted) stop();
          else signal.addEventListener('abort', stop);
        });
      },
    };
    const deps = { ...house.deps, llm, localAgentId: agent.agentId };
    const wish = { prompt: 'x', modelName: null, compared: ['scripted', 'scripted:other'] };
    const asked = proposeOnce(deps, operator, wish, new AbortController().signal);
    await expect(asked).rejects.toMatchObject({ code: 'model_unavailable' });
    await expect.poll(() => stopped).toEqual([true]);
  });
});

describe('the history of tasks', () => {
  it('has every attempt of every run, oldest first, and the newest proposal', async () => {
    const step = await start({ retries: 1 });
    const [first] = await agent.claim();
    if (first === undefined) throw new Error('nothing was claimed');
    await agent.start(first);
    await agent.write(first, 'stdout', Buffer.from('out\n'));
    await agent.write(first, 'stderr', Buffer.from([0x65, 0xff, 0x0a]));
    await agent.finish(first, { exitCode: 1 });
    await judge(step);
    await run(0);
    await judge(step);
    const again = { act: { command: 'true' }, retries: 0, retryDelayMs: 0 };
    await executeStep(house.deps, operator, step.taskPublicId, again, null);
    const untouched = await house.createTask({ goal: 'nothing yet', mode: 'manual' });

    const histories = await readStepHistories(house.deps, [step.taskId, (await taskOf(untouched.id)).id]);
    const shown = histories.get(step.taskId);
    expect(
      shown?.history.map(({ run, attempt, status, exit_code }) => [run, attempt, status, exit_code]),
    ).toEqual([
      [1, 1, 'failed', 1],
      [1, 2, 'completed', 0],
      [2, 1, 'in_progress', null],
    ]);
    expect(shown?.history[0]).toMatchObject({
      command: 'false',
      output: 'out\ne\ufffd\n',
      output_truncated: false,
    });
    expect(shown?.lastProposal).toMatchObject({ command: 'true', reason: 'direct execution' });
    expect(shown).toMatchObject({ lastOutput: '', lastExitCode: 0 });
    expect(histories.get((await taskOf(untouched.id)).id)).toEqual({
      history: [],
      lastProposal: null,
      lastOutput: null,
      lastExitCode: null,
    });
    await house.ask('POST', `/v1/tasks/${step.taskPublicId}/cancel`, {});
  });

  it('is read by index, for a whole list in one go', async () => {
    const { taskId } = await start({ retries: 0 });
    expect(await planSentBy((db) => listNewestSteps(db, [taskId], 10))).toContain('steps_pkey');
    expect(await planSentBy((db) => listNewestCommands(db, [taskId], 10))).toContain('commands_task_idx');
    expect(await planSentBy((db) => listToolRuns(db, [taskId], 10))).toContain('tool_runs_task_idx');
    expect(await planSentBy((db) => listStepPlans(db, [taskId]))).toContain('step_plans_pkey');
  });
});

/** The plan of the very statement that a function sends, where the tables are too large to be read whole. */
async function planSentBy(send: (trx: Trx) => Promise<unknown>): Promise<string> {
  const sent: { text: string; values: unknown[] }[] = [];
  const driver = {
    async query(statement: { text: string; values: unknown[] }) {
      sent.push(statement);
      return { rows: [] };
    },
  };
  await send({ driver: driver as unknown as pg.ClientBase });
  const [statement] = sent;
  if (statement === undefined) throw new Error('nothing was sent');
  return inTransaction(house.db, async (trx) => {
    await trx.driver.query('set local enable_seqscan = off');
    const { text, values } = statement;
    const { rows } = await trx.driver.query<{ 'QUERY PLAN': string }>(`explain ${text}`, values);
    return rows.map((row) => row['QUERY PLAN']).join('\n');
  });
}
