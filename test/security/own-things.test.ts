/** A `user` sees and touches what is theirs; of everything else they cannot even tell that it is there. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { StepView } from '../../contracts/tasks.ts';
import { openSse } from '../support/event-streams.ts';
import { type House, startHouse } from '../support/house.ts';

const NOBODYS_ID = '01890000-0000-7000-8000-000000000000';

let house: House;
let taskId: string;
let step: StepView;
let commandId: string;
let batchId: string;

beforeAll(async () => {
  house = await startHouse();
  const agentId = await house.addAgent();
  const agent = await house.connect(agentId);
  taskId = (await house.createTask({ target: { agentId } }, 'user:ann')).id;
  await house.propose(taskId, 1);
  const steps = await house.ask<{ items: StepView[] }>('GET', `/v1/tasks/${taskId}/steps`);
  const proposed = steps.body.items[0];
  if (proposed === undefined) throw new Error('no step');
  const body = { decision: 'approve', step: 1, digest: proposed.digest };
  const decided = await house.ask<StepView>('POST', `/v1/tasks/${taskId}/decide`, body);
  expect(decided.status).toBe(200);
  step = decided.body;
  [commandId = ''] = await agent.claim();
  batchId = step.batchId ?? '';
  await agent.start(commandId);
  await agent.write(commandId, 'stdout', Buffer.from('the secret of ann'));
  await agent.finish(commandId);
});
afterAll(() => house.close());

const pathsTo = (task: string, command: string, batch: string): string[] => [
  `/v1/tasks/${task}`,
  `/v1/tasks/${task}/steps`,
  `/v1/tasks/${task}/timeline`,
  `/v1/commands/${command}`,
  `/v1/commands/${command}/output/stdout`,
  `/v1/commands/${command}/output`,
  `/v1/batches/${batch}`,
  `/v1/events?taskId=${task}`,
];

async function read(path: string, as: string): Promise<{ status: number; text: string }> {
  const abort = new AbortController();
  const response = await house.server.fetch(path, {
    headers: { Authorization: `Bearer ${as}` },
    signal: abort.signal,
  });
  const isStream = response.headers.get('Content-Type')?.startsWith('text/event-stream') ?? false;
  const text = isStream ? '' : await response.text();
  abort.abort();
  return { status: response.status, text };
}

describe('what belongs to somebody', () => {
  it('is read by its owner and by those who see all', async () => {
    for (const as of ['user:ann', 'viewer:vi', 'operator:op', 'admin:ada']) {
      for (const path of pathsTo(taskId, commandId, batchId)) {
        const { status } = await read(path, as);
        expect([as, path, status === 404 && path.endsWith('/output') ? 200 : status]).toEqual([
          as,
          path,
          200,
        ]);
      }
    }
  });

  it('is not there for another user, in the same words as what never was', async () => {
    const theirs = pathsTo(taskId, commandId, batchId);
    const never = pathsTo(NOBODYS_ID, NOBODYS_ID, NOBODYS_ID);
    for (const [index, path] of theirs.entries()) {
      const seen = await read(path, 'user:bob');
      const absent = await read(never[index] ?? '', 'user:bob');
      expect([path, seen.status]).toEqual([path, 404]);
      expect(absent.status).toBe(404);
      const wordsOf = (text: string) => {
        const { code, title, type, detail } = JSON.parse(text) as Record<string, string>;
        const plain = [taskId, commandId, batchId, NOBODYS_ID].reduce(
          (all, id) => all.replaceAll(id, 'ID'),
          detail ?? '',
        );
        return { code, title, type, plain };
      };
      expect(wordsOf(seen.text)).toEqual(wordsOf(absent.text));
    }
  });

  it('is in no list of another user, whatever they filter by', async () => {
    for (const path of [
      '/v1/tasks',
      '/v1/tasks?archived=true',
      '/v1/commands',
      `/v1/commands?taskId=${taskId}`,
      `/v1/commands?batchId=${batchId}`,
    ]) {
      const { status, body } = await house.ask<{ items: unknown[] }>('GET', path, undefined, {
        as: 'user:bob',
      });
      expect([path, status, body.items]).toEqual([path, 200, []]);
    }
  });

  it('is in no event of another user, live or replayed', async () => {
    const headers = { Authorization: 'Bearer user:bob', 'Last-Event-ID': '0.0' };
    const stream = await openSse(`${house.server.url()}/v1/events`, headers);
    await stream.until((events) => events.some((event) => event.event === 'ready'));
    const mine = await house.createTask({}, 'user:bob');
    await stream.until((events) => JSON.stringify(events).includes(mine.id));
    expect(JSON.stringify(stream.events)).not.toContain(taskId);
    expect(JSON.stringify(stream.events)).not.toContain(commandId);
    expect(JSON.stringify(stream.events)).not.toContain('ann');
    stream.close();
  });

  it('is touched by nobody else', async () => {
    const other = (await house.createTask({}, 'user:ann')).id;
    for (const [method, path, body] of [
      ['POST', `/v1/tasks/${other}/cancel`, {}],
      ['POST', `/v1/tasks/${other}/propose`, { waitMs: 0 }],
      ['POST', `/v1/tasks/${other}/archive`, undefined],
      ['POST', `/v1/tasks/${other}/restore`, undefined],
    ] as const) {
      const { status } = await house.ask(method, path, body, { as: 'user:bob' });
      expect([path, status]).toEqual([path, 404]);
    }
    for (const as of ['user:ann', 'user:bob', 'viewer:vi', 'system:agent-token', 'agent:some-agent']) {
      const body = { decision: 'approve', step: 1, digest: step.digest };
      expect((await house.ask('POST', `/v1/tasks/${taskId}/decide`, body, { as })).status, as).toBe(403);
      expect((await house.ask('POST', `/v1/tasks/${taskId}/execute`, {}, { as })).status, as).toBe(403);
    }
    expect((await house.ask('GET', `/v1/tasks/${other}`, undefined, { as: 'user:ann' })).body).toMatchObject({
      cancelRequestedAt: null,
      archivedAt: null,
    });
  });

  it('a viewer reads all and changes nothing', async () => {
    for (const action of ['cancel', 'archive', 'decide', 'execute', 'propose', 'assign']) {
      const { status } = await house.ask('POST', `/v1/tasks/${taskId}/${action}`, {}, { as: 'viewer:vi' });
      expect([action, status]).toEqual([action, 403]);
    }
  });
});
