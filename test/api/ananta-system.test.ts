/** The hub as clients of ananta look at it: probes, figures, history, events. */
import http from 'node:http';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { anantaEventSchema, anantaStatsSchema } from '../../contracts/families/ananta/system.ts';
import type { StatsFigures } from '../../contracts/stats.ts';
import { query } from '../../db/database.ts';
import { insertSnapshot, listSnapshotsSql } from '../../db/stats.ts';
import { SNAPSHOT_DAYS, takeSnapshot, thinHistory } from '../../domain/stats/stats.ts';
import { startTestServer } from '../support/http.ts';
import { readEventStream } from '../support/sse.ts';
import { type System, startSystem } from '../support/system.ts';
import { deskOf } from '../support/tasks.ts';

const AGENT_TOKEN = 'the-shared-agent-token-of-this-test';

let system: System;
const tokens = { viewer: '', user: '' };
beforeAll(async () => {
  system = await startSystem({ worker: false, env: { AGENT_TOKEN } });
  const desk = deskOf(system);
  tokens.viewer = await desk.addUser('viewer', 'vera');
  tokens.user = await desk.addUser('user', 'uma');
});
afterAll(() => system.close());

const urlOf = (profile: string): string =>
  system.api.addresses.find((address) => address.profile === profile)?.url ?? '';
const bearer = (token = system.token()) => ({ authorization: `Bearer ${token}` });

interface Envelope<Data> {
  status: string;
  data: Data;
}

describe('probes', () => {
  it('/health tells of the shell and the model, on its own listeners; the twin on every one', async () => {
    const health = async (url: string) => {
      const reply = await fetch(url);
      return [
        reply.status,
        ((await reply.json()) as Envelope<{ agent: string; checks: object }>).data,
      ] as const;
    };
    const [status, data] = await health(`${urlOf('ananta')}/health`);
    expect(status).toBe(200);
    expect(data).toMatchObject({
      agent: expect.any(String),
      checks: { shell: { status: 'down' }, llm_providers: { mock: 'ok' }, database: { status: 'ok' } },
    });
    expect(await health(`${urlOf('steel')}/api/system/health`)).toEqual([200, data]);
    expect(await (await fetch(`${urlOf('steel')}/health`)).json()).toEqual({ status: 'healthy' });
    const local = await system.startAgent({ agentId: 'local' });
    const isUp = (answer: Awaited<ReturnType<typeof health>>) =>
      JSON.stringify(answer).includes('"shell":{"status":"ok"}');
    await system.until(() => health(`${urlOf('ananta')}/health`), isUp, 'a shell');
    await local.close();
  });

  it('/health says how the last calls of the model went', async () => {
    const desk = deskOf(system);
    const call = (outcome: string) =>
      desk.sql(
        `insert into llm_calls (purpose, principal_id, model, mock, input_tokens, output_tokens, cost_usd, outcome)
         values ('chat', 'x', 'x', true, 0, 0, 0, :outcome)`,
        { outcome },
      );
    const provider = async () => {
      const reply = await fetch(`${system.url}/api/system/health`);
      const { data } = (await reply.json()) as Envelope<{ checks: { llm_providers: object } }>;
      return data.checks.llm_providers;
    };
    await call('aborted');
    expect(await provider()).toEqual({ mock: 'ok' });
    await call('model_unavailable');
    expect(await provider()).toEqual({ mock: 'unreachable' });
    await call('ok');
    expect(await provider()).toEqual({ mock: 'unstable' });
    await desk.sql("update llm_calls set at = now() - interval '1 hour'");
    expect(await provider()).toEqual({ mock: 'ok' });
  });

  it('/ready names every check with its latency, at both paths', async () => {
    for (const path of ['/ready', '/api/system/ready']) {
      const reply = await fetch(`${system.url}${path}`);
      expect([reply.status, await reply.json()]).toEqual([
        200,
        {
          status: 'success',
          data: {
            ready: true,
            checks: {
              hub: { status: 'ok', code: 200, latency: expect.any(Number) },
              database: { status: 'ok', latency: expect.any(Number) },
              migrations: { status: 'ok', latency: expect.any(Number) },
              temporal: { status: 'ok', latency: expect.any(Number) },
              llm: { status: 'ok', provider: 'mock', code: 200, latency: 0 },
            },
          },
        },
      ]);
    }
  });

  it('/ready is 503 with what is missing, and keeps the reason to itself', async () => {
    const server = await startTestServer({
      checks: {
        database: async () => {
          throw new Error('connection refused by 10.0.0.7');
        },
        migrations: async () => ({ ok: false, detail: '2 pending' }),
      },
    });
    const reply = await server.fetch('/ready');
    expect([reply.status, await reply.json()]).toEqual([
      503,
      {
        status: 'error',
        data: {
          ready: false,
          checks: {
            hub: {
              ...{ status: 'error', code: 503, latency: expect.any(Number) },
              message: 'not available: database, migrations',
            },
            database: { status: 'error', latency: expect.any(Number), message: 'the check failed' },
            migrations: { status: 'error', latency: expect.any(Number), message: '2 pending' },
          },
        },
      },
    ]);
    await server.close();
  });

  it('metrics stand under /api/system too, and /apidocs leads to the documentation', async () => {
    const metrics = await fetch(`${system.url}/api/system/metrics`);
    expect([metrics.status, await metrics.text()]).toEqual([200, expect.stringContaining('# TYPE ')]);
    for (const path of ['/apidocs', '/apidocs/', '/apidocs?next=//evil.example']) {
      const reply = await fetch(`${system.url}${path}`, { redirect: 'manual' });
      expect([reply.status, reply.headers.get('location')]).toEqual([302, '/docs']);
    }
    expect((await fetch(`${system.url}/apidocs`)).headers.get('content-type')).toContain('text/html');
  });
});

describe('figures', () => {
  it('count agents and tasks by status, for whoever is known, at both paths', async () => {
    const before = await stats();
    const agent = await system.startAgent();
    await system.enrol();
    for (const state of ['completed', 'completed', 'failed', 'expired', 'running', 'created', 'canceled']) {
      await addTask(state);
    }
    await addTask('completed', 'archived_at');
    await addTask('completed', 'deleted_at');
    const now = await stats('/api/system/stats', tokens.user);
    expect(now.agents).toEqual({
      total: before.agents.total + 2,
      online: before.agents.online + 1,
      offline: before.agents.offline + 1,
    });
    expect(now.shell_pool.total).toBe(before.shell_pool.total + 1);
    expect(now.shell_pool.free + now.shell_pool.busy).toBe(now.shell_pool.total);
    expect(now.tasks).toEqual({ total: 7, completed: 2, failed: 2, todo: 1, in_progress: 1, cancelled: 1 });
    expect(now.resources.ram_bytes).toBeGreaterThan(1_000_000);
    expect(now.timestamp).toBeCloseTo(Date.now() / 1_000, -2);
    expect(now.agent_name).not.toBe('');
    await agent.close();
  });

  it('count one with an address for as long as its list calls it online', async () => {
    const before = await stats();
    const { agentId } = await system.enrol();
    await deskOf(system).sql(`update agents set delivery = 'url' where id = :agentId`, { agentId });
    await deskOf(system).sql(
      `insert into agent_presence (agent_id, is_online, last_seen_at, heartbeat_at)
       values (:agentId, true, now() - interval '2 minutes', now() - interval '2 minutes')`,
      { agentId },
    );
    expect(await system.call('GET', `/v1/agents/${agentId}`)).toMatchObject({ status: 'online' });
    expect((await stats()).agents).toMatchObject({ online: before.agents.online + 1 });
  });

  it('are for nobody else', async () => {
    for (const path of ['/stats', '/stats/history', '/events', '/api/system/stats', '/api/system/events']) {
      const reply = await fetch(`${system.url}${path}`);
      expect([path, reply.status, await reply.json()]).toEqual([
        path,
        401,
        expect.objectContaining({ status: 'error', message: 'unauthorized' }),
      ]);
      const known = await fetch(`${system.url}${path}?token=${tokens.viewer}`);
      expect([path, known.status]).toEqual([path, 200]);
      await known.body?.cancel();
    }
  });

  async function stats(path = '/stats', token = system.token()) {
    const reply = await fetch(`${system.url}${path}`, { headers: bearer(token) });
    const body = (await reply.json()) as Envelope<unknown>;
    expect(body.status).toBe('success');
    return anantaStatsSchema.parse(body.data);
  }

  const addTask = (state: string, mark?: 'archived_at' | 'deleted_at') =>
    deskOf(system).sql(
      `insert into tasks (id, public_id, title, goal, mode, state, creator_kind, creator_id, creator_name, target,
                          max_steps, deadline_at, approval_timeout_ms, command_timeout_ms, expiry_ms
                          ${mark === undefined ? '' : `, ${mark}`})
       values (gen_random_uuid(), gen_random_uuid(), 'x', 'x', 'manual', :state, 'user', 'x', 'x', '{}',
               25, now(), 1, 1, 1 ${mark === undefined ? '' : ', now()'})`,
      { state },
    );
});

describe('their history', () => {
  const figures = (total: number): StatsFigures => ({
    agents: { total, online: 1, connected: 1, busy: 0 },
    tasks: { completed: 3 },
    resources: { cpuPercent: 1, ramBytes: 1 },
  });
  const history = async (search = '') => {
    const reply = await fetch(`${system.url}/stats/history${search}`, { headers: bearer() });
    return ((await reply.json()) as Envelope<{ timestamp: number; agents: { total: number } }[]>).data;
  };
  const add = (minutesAgo: number, one: StatsFigures) =>
    deskOf(system).sql(
      `insert into stats_snapshots (at, step, figures)
       values (date_trunc('minute', now()) - :minutesAgo * interval '1 minute', 1, cast(:one as jsonb))`,
      { minutesAgo, one: JSON.stringify(one) },
    );
  const steps = async () =>
    (await deskOf(system).sql<{ step: number }>('select step from stats_snapshots order by at')).map(
      ({ step }) => step,
    );

  it('is one entry a minute, oldest first; limit and offset count from the newest', async () => {
    const { db } = system.api.parts;
    for (const minutes of [3, 2, 1]) await add(minutes, figures(4 - minutes));
    expect(await insertSnapshot(db, figures(4))).toBe(true);
    const all = await history();
    expect(all.map(({ agents }) => agents.total)).toEqual([1, 2, 3, 4]);
    expect(all[0]).toEqual({
      agents: { total: 1, online: 1, offline: 0 },
      tasks: { total: 3, completed: 3, failed: 0, todo: 0, in_progress: 0 },
      shell_pool: { total: 1, free: 1, busy: 0 },
      resources: { cpu_percent: 1, ram_bytes: 1 },
      timestamp: expect.any(Number),
    });
    expect((await history('?limit=2')).map(({ agents }) => agents.total)).toEqual([3, 4]);
    expect((await history('?limit=2&offset=1')).map(({ agents }) => agents.total)).toEqual([2, 3]);
    expect((await fetch(`${system.url}/stats/history?limit=0`, { headers: bearer() })).status).toBe(422);
    await deskOf(system).sql('delete from stats_snapshots');
  });

  it('takes one snapshot a minute, however many ask for it at once', async () => {
    const deps = {
      ...{ db: system.api.parts.db, log: system.api.parts.domain.log },
      readResources: () => ({ cpuPercent: 1.5, ramBytes: 7 }),
    };
    const taken = await Promise.all(Array.from({ length: 4 }, () => takeSnapshot(deps)));
    // The minute may end in between.
    const rows = await history();
    expect(taken.filter((count) => count === 1)).toHaveLength(rows.length);
    expect(rows.length).toBeLessThanOrEqual(2);
    await deskOf(system).sql('delete from stats_snapshots');
  });

  it('keeps one a quarter of an hour for long and one an hour for longer, and never reads it all', async () => {
    const { db } = system.api.parts;
    // Three days of minutes, as they would have been kept.
    await deskOf(system).sql(
      `insert into stats_snapshots (at, step, figures)
       select at, case when extract(minute from at) = 0 then 60
                       when cast(extract(minute from at) as integer) % 15 = 0 then 15 else 1 end, '{}'
       from generate_series(date_trunc('hour', now()) - interval '72 hours', now() - interval '1 minute',
                            interval '1 minute') as at`,
    );
    await deskOf(system).sql(
      `insert into stats_snapshots (at, step, figures) values (now() - interval '31 days', 15, '{}'),
         (now() - interval '32 days', 60, '{}'), (now() - interval '366 days', 60, '{}')`,
    );
    const signal = new AbortController().signal;
    expect(await thinHistory({ db }, signal)).toBeGreaterThan(1_000);
    expect(await thinHistory({ db }, signal)).toBeLessThanOrEqual(1);
    const left = await deskOf(system).sql<{ step: number; days: number }>(
      'select step, cast(max(extract(epoch from now() - at)) / 86400 as double precision) as days from stats_snapshots group by step',
    );
    for (const { step, days } of left) {
      expect(days).toBeLessThanOrEqual(SNAPSHOT_DAYS[step as keyof typeof SNAPSHOT_DAYS] + 0.01);
    }
    expect(new Set(await steps())).toEqual(new Set([1, 15, 60]));
    await db.raw('analyze stats_snapshots');
    const plan = await query<{ 'QUERY PLAN': string }>(db, `explain ${listSnapshotsSql}`, {
      ...{ limit: 100, offset: 0 },
    });
    expect(plan.map((row) => row['QUERY PLAN']).join('\n')).toContain('stats_snapshots_pkey');
    await deskOf(system).sql('delete from stats_snapshots');
  });

  it('marks the first of an hour and of a quarter, though the exact minute was missed', async () => {
    const { db } = system.api.parts;
    await insertSnapshot(db, figures(1));
    expect(await steps()).toEqual([60]);
    await deskOf(system).sql('delete from stats_snapshots');
    // The one before is of the hour before: this is the first of its own.
    await add(60, figures(1));
    await insertSnapshot(db, figures(2));
    expect(await steps()).toEqual([1, 60]);
    await deskOf(system).sql('delete from stats_snapshots');
  });
});

describe('events', () => {
  const open: { close(): void }[] = [];
  afterEach(() => {
    vi.useRealTimers();
    for (const stream of open.splice(0)) stream.close();
  });

  /** Where the log ends now. */
  async function cursorOfNow(): Promise<string> {
    const stream = await readEventStream(`${system.url}/v1/events`, bearer());
    await vi.waitFor(() => expect(stream.events[0]).toBeDefined(), 20_000);
    stream.close();
    return stream.events[0]?.id ?? '';
  }

  async function raw(path: string, headers: Record<string, string> = bearer()) {
    const request = http.get(`${system.url}${path}`, { headers, agent: false });
    request.on('error', () => undefined);
    open.push({ close: () => request.destroy() });
    const message = await new Promise<http.IncomingMessage>((resolve, reject) => {
      request.once('response', resolve);
      request.once('error', reject);
    });
    let text = '';
    message.setEncoding('utf8');
    message.on('data', (part: string) => {
      text += part;
    });
    return { text: () => text, headers: message.headers, status: message.statusCode };
  }

  const frames = (text: string) =>
    text
      .split('\n\n')
      .filter((block) => block.startsWith('data: '))
      .map((block) => anantaEventSchema.parse(JSON.parse(block.slice('data: '.length))));

  it('are `data:` alone, with task statuses in the words of the family', async () => {
    const cursor = await cursorOfNow();
    const stream = await raw(`/events?lastEventId=${cursor}`);
    expect(stream.headers['content-type']).toBe('text/event-stream; charset=utf-8');
    const task = await deskOf(system).create({ goal: 'look around', mode: 'manual' });
    await deskOf(system).cancel(task.id, 'no longer');
    await vi.waitFor(() => expect(stream.text()).toContain('task_cancel'), 20_000);
    expect(stream.text()).toMatch(/^(data: \{.*\}\n\n|: keep-alive\n\n)+$/);
    const created = frames(stream.text()).find(({ type }) => type === 'task_created');
    expect(created).toEqual({
      type: 'task_created',
      data: { title: expect.any(String), mode: 'manual', task_id: task.id, status: 'created' },
      timestamp: expect.any(Number),
      id: expect.stringMatching(/^\d+\.\d+$/),
    });
    // From there on again: nothing of before, everything after.
    const resumed = await raw('/api/system/events', { ...bearer(), 'last-event-id': created?.id ?? '' });
    await vi.waitFor(() => expect(resumed.text()).toContain('task_cancel'), 20_000);
    expect(frames(resumed.text()).map(({ type }) => type)).not.toContain('task_created');
    const odd = await fetch(`${system.url}/events?lastEventId=x`, { headers: bearer() });
    expect(odd.status).toBe(422);
  });

  it('tell that the shared token was rotated, not to whom only own things are shown', async () => {
    const cursor = await cursorOfNow();
    const seen = await raw(`/events?lastEventId=${cursor}`);
    const own = await raw(`/events?lastEventId=${cursor}`, bearer(tokens.user));
    const rotated = await system.call<Envelope<{ new_token: string }>>('POST', '/api/system/rotate-token');
    const mine = await system.call<{ id: string }>(
      'POST',
      '/v1/tasks',
      { goal: 'mine', mode: 'manual' },
      { token: tokens.user },
    );
    await vi.waitFor(() => expect(seen.text()).toContain('token_rotated'), 20_000);
    await vi.waitFor(() => expect(own.text()).toContain(mine.id), 20_000);
    expect(own.text()).not.toContain('token_rotated');
    expect(seen.text()).not.toContain(rotated.data.new_token);
    expect(frames(seen.text()).find(({ type }) => type === 'token_rotated')).toBeDefined();
  });

  it('say `: keep-alive` after 15 seconds of silence', async () => {
    const cursor = await cursorOfNow();
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
    const { text } = await raw(`/events?lastEventId=${cursor}`);
    vi.advanceTimersByTime(14_999);
    expect(text()).not.toContain(':');
    vi.advanceTimersByTime(1);
    await vi.waitFor(() => expect(text()).toContain(': keep-alive\n\n'), 20_000);
  });
});

describe('a worker', () => {
  it('keeps the figures of the minute', async () => {
    const rows = () => deskOf(system).sql<{ at: Date }>('select at from stats_snapshots');
    expect(await rows()).toEqual([]);
    await system.startWorker();
    await system.until(rows, (found) => found.length > 0, 'a snapshot', 60_000);
    const reply = await fetch(`${system.url}/api/system/stats/history`, { headers: bearer() });
    const { data } = (await reply.json()) as Envelope<{ tasks: { total: number } }[]>;
    expect(data[0]?.tasks.total).toBeGreaterThan(0);
  });
});
