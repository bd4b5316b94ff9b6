/** Decisions on the whole stack: edit, reject, time out, race; each is made once and binds the exact bytes. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type System, startSystem, type TestAgent } from '../support/system.ts';
import { type Desk, deskOf, type EffectFile, openEffectFile } from '../support/tasks.ts';

let system: System;
let desk: Desk;
let agent: TestAgent;
let effects: EffectFile;

beforeAll(async () => {
  effects = openEffectFile();
  system = await startSystem();
  desk = deskOf(system);
  agent = await system.startAgent({ agentId: 'worker-1' });
});
afterAll(async () => {
  effects.close();
  await system.close();
});

const create = (body: Record<string, unknown>) =>
  desk.create({ target: { agentId: agent.agentId }, ...body });
const countLines = (line: string) => effects.lines().filter((each) => each === line).length;

describe('edit', () => {
  it('runs the edited bytes under a new digest and label, with the editor as author', async () => {
    const task = await create({ goal: 'run `echo proposed`' });
    const proposed = await desk.untilProposed(task.id, 1);
    const command = `${effects.mark('edited')}; rm -rf ./nothing-here`;
    const edited = await desk.edit(task.id, proposed, { command }, 'that is not enough');
    expect(edited).toMatchObject({
      text: command,
      originalText: 'echo proposed',
      decision: 'edit',
      decidedBy: { name: 'admin' },
      author: { kind: 'user', name: 'admin' },
      decisionReason: 'that is not enough',
    });
    expect(proposed).toMatchObject({ risk: { label: 'safe' }, author: { kind: 'model' } });
    expect(edited.risk.label).not.toBe('safe');
    expect(edited.digest).not.toBe(proposed.digest);
    await desk.untilEnded(task.id);
    expect(countLines('edited')).toBe(1);
    expect(await desk.counts(task.id)).toEqual({ batches: 1, commands: 1 });
    const [row] = await desk.sql<{ same: boolean }>(
      `select c.digest = s.digest as same from commands c
       join steps s on s.task_id = c.task_id and s.step_no = c.step_no where c.task_id = :id`,
      { id: task.id },
    );
    expect(row?.same).toBe(true);
  });

  it('keeps what the editor leaves out, and may turn a script into a program', async () => {
    const task = await create({ goal: 'run `echo proposed`', commandTimeoutMs: 7_000 });
    const proposed = await desk.untilProposed(task.id, 1);
    const edited = await desk.edit(task.id, proposed, { argv: ['echo', 'a b'] });
    expect(edited).toMatchObject({ mode: 'argv', shell: null, text: "echo 'a b'", timeoutMs: 7_000 });
    await desk.untilEnded(task.id);
  });

  it('shows all that the digest binds, not the command alone', async () => {
    const task = await create({ goal: 'run `echo proposed`' });
    const proposed = await desk.untilProposed(task.id, 1);
    const stdin = Buffer.from('a line\n').toString('base64');
    const special = { stdin, workingDirectory: '/', environment: { SPECIAL: 'yes' } };
    const edited = await desk.edit(task.id, proposed, { command: 'cat; pwd; echo $SPECIAL', ...special });
    expect(edited.act).toMatchObject({ ...special, user: null, elevated: false });
    await desk.untilEnded(task.id);
    const step = await desk.step(task.id, 1);
    expect(step.commands).toMatchObject([
      { state: 'succeeded', stdinBytes: 7, workingDirectory: '/', environmentNames: ['SPECIAL'], user: null },
    ]);
  });
});

describe('reject', () => {
  it('asks for another proposal, which knows the reason', async () => {
    const task = await create({ goal: 'count the lines of typescript files' });
    const first = await desk.untilProposed(task.id, 1);
    const body = { decision: 'reject', step: 1, digest: first.digest, reason: 'not with git' };
    expect((await desk.decide(task.id, body)).status).toBe(200);
    const second = await desk.untilProposed(task.id, 2);
    expect(second.text).not.toBe(first.text);
    expect(second.reason).toContain('not with git');
    expect((await desk.step(task.id, 1)).commands).toEqual([]);
    await desk.cancel(task.id);
  });

  it('for good ends the task with the reason', async () => {
    const task = await create({ goal: 'run `echo x`' });
    const first = await desk.untilProposed(task.id, 1);
    const body = { decision: 'reject', step: 1, digest: first.digest, reason: 'never mind', final: true };
    expect((await desk.decide(task.id, body)).status).toBe(200);
    expect(await desk.get(task.id)).toMatchObject({
      state: 'canceled',
      result: { success: false, summary: 'never mind', reason: 'rejected' },
    });
    expect((await desk.decide(task.id, body)).status).toBe(200); // a double click
    const approval = await desk.decide(task.id, { decision: 'approve', step: 1, digest: first.digest });
    expect(approval).toMatchObject({ status: 409, body: { code: 'already_decided' } });
  });
});

describe('too late or stale', () => {
  it('nobody decides in time: the task expires and says why', async () => {
    const task = await create({ goal: 'run `echo x`', approvalTimeoutMs: 1_000 });
    const step = await desk.untilProposed(task.id, 1);
    expect(await desk.untilEnded(task.id)).toMatchObject({
      state: 'expired',
      result: { success: false, reason: 'approval_timeout' },
    });
    expect(await desk.step(task.id, 1)).toMatchObject({ decision: 'expire' });
    const late = await desk.decide(task.id, { decision: 'approve', step: 1, digest: step.digest });
    expect(late).toMatchObject({ status: 409, body: { code: 'approval_expired' } });
    expect(await desk.counts(task.id)).toEqual({ batches: 0, commands: 0 });
  });

  it('a decision in the moment of the timeout: exactly one of them wins', async () => {
    const tasks = await Promise.all(
      [980, 990, 1_000].map((aheadMs) =>
        create({ goal: `run \`${effects.mark(`race-${aheadMs}`)}\``, approvalTimeoutMs: 1_000 }).then(
          (task) => ({ task, aheadMs }),
        ),
      ),
    );
    await Promise.all(
      tasks.map(async ({ task, aheadMs }) => {
        const step = await desk.untilProposed(task.id, 1);
        const at = Date.parse(step.expiresAt) - 1_000 + aheadMs;
        await system.until(
          async () => Date.now(),
          (now) => now >= at,
          'the moment',
        );
        const { status, body } = await desk.decide(task.id, {
          decision: 'approve',
          step: 1,
          digest: step.digest,
        });
        const ended = await desk.untilEnded(task.id);
        if (status === 200) expect(ended.state).toBe('completed');
        else expect([body.code, ended.state]).toEqual(['approval_expired', 'expired']);
        expect(countLines(`race-${aheadMs}`)).toBe(status === 200 ? 1 : 0);
      }),
    );
  });

  it('refuses another digest, another step and a step that does not exist, and changes nothing', async () => {
    const task = await create({ goal: 'run `true` then `echo two`' });
    const first = await desk.approve(task.id, 1);
    const second = await desk.untilProposed(task.id, 2);
    const refusals = await Promise.all([
      desk.decide(task.id, { decision: 'approve', step: 2, digest: first.digest }),
      desk.decide(task.id, { decision: 'approve', step: 2, digest: 'f'.repeat(64) }),
      desk.decide(task.id, { decision: 'approve', step: 1, digest: second.digest }),
      desk.decide(task.id, { decision: 'reject', step: 1, digest: first.digest, reason: 'no' }),
      desk.decide(task.id, { decision: 'approve', step: 3, digest: second.digest }),
    ]);
    expect(refusals.map(({ status, body }) => [status, body.code])).toEqual([
      [409, 'stale_digest'],
      [409, 'stale_digest'],
      [409, 'already_decided'],
      [409, 'already_decided'],
      [404, 'step_not_found'],
    ]);
    expect(await desk.get(task.id)).toMatchObject({ state: 'awaiting_decision', step: 2 });
    const denied = (await desk.audit(task.id)).filter((row) => row.outcome === 'denied');
    expect(denied).toHaveLength(4);
    await desk.cancel(task.id);
  });
});

describe('at the same time', () => {
  it('twenty approvals of one person and others start it once', async () => {
    const others = await Promise.all(['olga', 'omar', 'otto'].map((name) => desk.addUser('operator', name)));
    const task = await create({ goal: `run \`${effects.mark('twenty')}\`` });
    const { digest } = await desk.untilProposed(task.id, 1);
    const tokens = Array.from({ length: 20 }, (_, index) => others[index % 4]); // undefined: the admin
    const replies = await Promise.all(
      tokens.map((token) =>
        desk
          .decide(task.id, { decision: 'approve', step: 1, digest }, token === undefined ? {} : { token })
          .then((reply) => ({ token, ...reply })),
      ),
    );
    const winners = new Set(replies.filter(({ status }) => status === 200).map(({ token }) => token));
    expect(winners.size).toBe(1);
    expect(replies.filter(({ status }) => status === 200)).toHaveLength(5);
    const losers = replies.filter(({ status }) => status !== 200);
    expect(new Set(losers.map(({ status, body }) => `${status} ${body.code}`))).toEqual(
      new Set(['409 already_decided']),
    );
    await desk.untilEnded(task.id);
    expect(countLines('twenty')).toBe(1);
    expect(await desk.counts(task.id)).toEqual({ batches: 1, commands: 1 });
    const approvals = (await desk.audit(task.id)).filter((row) => row.action === 'step.approve');
    expect(approvals.filter((row) => row.outcome === 'success')).toHaveLength(1);
    expect(approvals.filter((row) => row.outcome === 'denied')).toHaveLength(15);
  });

  it('approve, edit and reject: one wins, and only its bytes run', async () => {
    const task = await create({ goal: `run \`${effects.mark('approved')}\` then \`echo next\`` });
    const { digest } = await desk.untilProposed(task.id, 1);
    const replies = await Promise.all([
      desk.decide(task.id, { decision: 'approve', step: 1, digest }),
      desk.decide(task.id, { decision: 'reject', step: 1, digest, reason: 'no' }),
      desk.decide(task.id, { decision: 'edit', step: 1, digest, act: { command: effects.mark('edit') } }),
    ]);
    expect(replies.map(({ status }) => status).sort()).toEqual([200, 409, 409]);
    const winner = ['approve', 'reject', 'edit'][replies.findIndex(({ status }) => status === 200)];
    expect((await desk.step(task.id, 1)).decision).toBe(winner);
    await system.untilTask(task.id, (row) => row.endedAt !== null || row.step === 2);
    expect(countLines('approved')).toBe(winner === 'approve' ? 1 : 0);
    expect(countLines('edit')).toBe(winner === 'edit' ? 1 : 0);
    await system.request('POST', `/v1/tasks/${task.id}/cancel`, {});
  });

  it('a double click is the same answer', async () => {
    const task = await create({ goal: `run \`${effects.mark('double')}\`` });
    const { digest } = await desk.untilProposed(task.id, 1);
    const click = () => desk.decide(task.id, { decision: 'approve', step: 1, digest });
    const [first, second] = await Promise.all([click(), click()]);
    await desk.untilEnded(task.id);
    const third = await click();
    expect([first.status, second.status, third.status]).toEqual([200, 200, 200]);
    expect(new Set([first, second, third].map(({ body }) => body.batchId)).size).toBe(1);
    expect(countLines('double')).toBe(1);
  });
});
