import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { BatchView, CommandView } from '../../contracts/commands.ts';
import type { Page } from '../../contracts/shared.ts';
import { type House, startHouse } from '../support/house.ts';

let house: House;
beforeAll(async () => {
  house = await startHouse();
});
afterAll(() => house.close());

type Problem = { code?: string; errors?: { pointer: string }[] };
const run = (body: object, options = {}) =>
  house.ask<BatchView & Problem>('POST', '/v1/commands', body, options);
const act = { command: 'uname -a' };

describe('running commands', () => {
  it('answers 201 with the batch; offline agents wait', async () => {
    const agentIds = [await house.addAgent(), await house.addAgent()];
    const made = await run({ agentIds: [...agentIds, ...agentIds], act });
    expect(made.status).toBe(201);
    expect(made.headers.get('Location')).toBe(`/v1/batches/${made.body.batchId}`);
    expect(made.body).toMatchObject({ size: 2, pending: 2, finishedAt: null });
    expect(made.body.commands.map((command) => command.agentId)).toEqual(agentIds.toSorted());
    expect(made.body.commands[0]).toMatchObject({
      state: 'queued',
      text: 'uname -a',
      shell: 'sh',
      timeoutMs: 30_000,
      taskId: null,
      step: null,
      createdBy: { id: 'ada' },
    });
    expect((await house.ask('GET', `/v1/batches/${made.body.batchId}`)).body).toEqual(made.body);
    const [first] = made.body.commands;
    expect((await house.ask('GET', `/v1/commands/${first?.commandId}`)).body).toEqual(first);
  });

  it('waits for the outcomes when asked to', async () => {
    const agentId = await house.addAgent();
    const agent = await house.connect(agentId);
    const answering = run({ agentIds: [agentId], act, waitMs: 20_000 });
    let commandId = '';
    await expect.poll(async () => (commandId ||= (await agent.claim())[0] ?? '')).not.toBe('');
    await agent.start(commandId);
    await agent.write(commandId, 'stdout', Buffer.from('Linux\n'));
    await agent.finish(commandId, { exitCode: 3 });
    expect(await answering).toMatchObject({
      status: 201,
      body: {
        pending: 0,
        commands: [{ state: 'failed', exitCode: 3, durationMs: 12, stdout: { bytes: 6 } }],
      },
    });
  });

  it('answers 202 with the batch as it stands when the time is over', async () => {
    const began = performance.now();
    const made = await run({ agentIds: [await house.addAgent()], act, waitMs: 150 });
    expect(made).toMatchObject({ status: 202, body: { pending: 1, commands: [{ state: 'queued' }] } });
    expect(performance.now() - began).toBeLessThan(10_000);
  });

  it('is one batch for one Idempotency-Key, also at once and after the agent is gone', async () => {
    const agentId = await house.addAgent();
    const headers = { 'Idempotency-Key': `run-${agentId}` };
    const answers = await Promise.all(
      Array.from({ length: 10 }, () => run({ agentIds: [agentId], act }, { headers })),
    );
    expect(answers.map(({ status }) => status).sort()).toEqual([...Array(9).fill(200), 201]);
    expect(new Set(answers.map(({ body }) => body.batchId)).size).toBe(1);
    expect(await house.db('commands').where({ agent_id: agentId })).toHaveLength(1);
    await house.db('agents').update({ revoked_at: new Date() }).where({ id: agentId });
    expect((await run({ agentIds: [agentId], act }, { headers })).status).toBe(200);
    expect((await run({ agentIds: [agentId], act: { command: 'id' } }, { headers })).body.code).toBe(
      'idempotency_conflict',
    );
    expect((await run({ agentIds: [agentId], act })).body.code).toBe('agent_revoked');
  });

  it('is one command for one command id, and a conflict for another act', async () => {
    const agentId = await house.addAgent();
    const body = { agentIds: [agentId], act, commandId: randomUUID() };
    const answers = await Promise.all(Array.from({ length: 8 }, () => run(body)));
    expect(answers.map(({ status }) => status).sort()).toEqual([...Array(7).fill(200), 201]);
    expect(await house.db('commands').where({ agent_id: agentId })).toHaveLength(1);
    expect(await run({ ...body, act: { command: 'id' } })).toMatchObject({
      status: 409,
      body: { code: 'command_conflict' },
    });
    const two = await run({ ...body, agentIds: [agentId, await house.addAgent()] });
    expect(two.body.errors).toMatchObject([{ pointer: '/commandId' }]);
    const headers = { 'Idempotency-Key': `again-${agentId}` };
    expect((await run(body, { headers })).status).toBe(200);
    expect((await run(body, { headers })).body.batchId).toBe(answers[0]?.body.batchId);
  });

  it('says what is wrong', async () => {
    const agentId = await house.addAgent();
    const bash = await house.addAgent(undefined, { defaultShell: 'bash' });
    const pointers = async (wish: object) =>
      (await run({ agentIds: [agentId], act, ...wish })).body.errors?.map(({ pointer }) => pointer);
    expect(await pointers({ agentIds: [] })).toEqual(['/agentIds']);
    expect(await pointers({ act: {} })).toEqual(['/act/command']);
    expect(await pointers({ act: { command: 'x', outputCapBytes: 17 * 1024 * 1024 } })).toEqual([
      '/act/outputCapBytes',
    ]);
    expect(await pointers({ act: { argv: ['x'], shell: 'sh' } })).toEqual(['/act/shell']);
    expect((await run({ agentIds: ['nobody'], act })).body.code).toBe('agent_not_found');
    expect((await run({ agentIds: [agentId, bash], act })).body.code).toBe('conflict');
    expect((await run({ agentIds: [agentId, bash], act: { ...act, shell: 'sh' } })).status).toBe(201);
    expect((await run({ agentIds: [agentId], act }, { as: 'user:uma' })).status).toBe(403);
    expect((await run({ agentIds: [agentId], act }, { as: null })).status).toBe(401);
  });
});

describe('the ledger', () => {
  it('pages and filters, and refuses cursors that are none of its own', async () => {
    const agentIds = await Promise.all(Array.from({ length: 5 }, () => house.addAgent()));
    const { body: batch } = await run({ agentIds, act });
    const found: string[] = [];
    for (let cursor: string | null = null; ; ) {
      const query: string = `batchId=${batch.batchId}&limit=2${cursor === null ? '' : `&cursor=${cursor}`}`;
      const page: Page<CommandView> = (await house.ask<Page<CommandView>>('GET', `/v1/commands?${query}`))
        .body;
      found.push(...page.items.map(({ commandId }) => commandId));
      cursor = page.nextCursor;
      if (cursor === null) break;
    }
    expect(found.toSorted()).toEqual(batch.commands.map(({ commandId }) => commandId).toSorted());
    const list = async (query: string) =>
      (await house.ask<Page<CommandView>>('GET', `/v1/commands?${query}`)).body.items.length;
    expect(await list(`agentId=${agentIds[0]}&state=queued`)).toBe(1);
    expect(await list(`agentId=${agentIds[0]}&state=running`)).toBe(0);
    const foreign = Buffer.from(JSON.stringify([1, 'not-a-uuid'])).toString('base64url');
    expect(await house.ask('GET', `/v1/commands?cursor=${foreign}`)).toMatchObject({
      status: 422,
      body: { code: 'invalid_cursor' },
    });
  });

  it('cancels what is queued now, asks what runs, and leaves what has ended', async () => {
    const agentIds = [await house.addAgent(), await house.addAgent()];
    const { body: batch } = await run({ agentIds, act });
    const agent = await house.connect(agentIds.toSorted()[0] ?? '');
    const [running = ''] = await agent.claim();
    await agent.start(running);
    const canceled = await house.ask<BatchView>('POST', `/v1/batches/${batch.batchId}/cancel`, {
      reason: 'enough',
    });
    expect(canceled.body.commands).toMatchObject([
      { state: 'running', cancelRequestedAt: expect.any(String), finishedAt: null },
      { state: 'canceled', reason: 'enough', cancelRequestedAt: null },
    ]);
    await agent.finish(running);
    const again = await house.ask<CommandView>('POST', `/v1/commands/${running}/cancel`);
    expect(again).toMatchObject({ status: 200, body: { state: 'succeeded' } });

    const { body: other } = await run({ agentIds: [await house.addAgent()], act });
    const commandId = other.commands[0]?.commandId;
    const headers = { 'Idempotency-Key': `cancel-${commandId}` };
    for (let i = 0; i < 2; i++) {
      const one = await house.ask<CommandView>('POST', `/v1/commands/${commandId}/cancel`, {}, { headers });
      expect(one.body).toMatchObject({ state: 'canceled', reason: 'canceled by ada' });
    }
    const audits = await house.db('audit_events').where({ action: 'command.cancel', target_id: commandId });
    expect(audits).toHaveLength(1);
  });

  it('hides the commands of others from users', async () => {
    const { body: foreign } = await run({ agentIds: [await house.addAgent()], act });
    const commandId = foreign.commands[0]?.commandId ?? '';
    const agentId = await house.addAgent();
    const task = await house.createTask({ target: { agentId } }, 'user:uma');
    await house.ask('POST', `/v1/tasks/${task.id}/execute`, { act });
    const as = { as: 'user:uma' };
    const listed = await house.ask<Page<CommandView>>('GET', '/v1/commands', undefined, as);
    expect(listed.body.items).toMatchObject([{ taskId: task.id, agentId }]);
    const [own] = listed.body.items;
    for (const path of ['', '/output/stdout', '/output']) {
      const hidden = await house.ask('GET', `/v1/commands/${commandId}${path}`, undefined, as);
      expect([path, hidden.status, hidden.body.code]).toEqual([path, 404, 'command_not_found']);
    }
    expect((await house.ask('GET', `/v1/batches/${foreign.batchId}`, undefined, as)).status).toBe(404);
    expect((await house.ask('GET', `/v1/batches/${own?.batchId}`, undefined, as)).status).toBe(200);
    expect((await house.ask('POST', `/v1/commands/${own?.commandId}/cancel`, {}, as)).status).toBe(403);
    for (const path of [`/v1/batches/${randomUUID()}`, `/v1/commands/${randomUUID()}`]) {
      expect((await house.ask('GET', path)).status).toBe(404);
      expect((await house.ask('POST', `${path}/cancel`)).status).toBe(404);
    }
    expect((await house.ask('GET', '/v1/commands/nonsense')).status).toBe(422);
  });
});
