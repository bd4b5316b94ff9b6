import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { eventFrameSchema } from '../../contracts/event-routes.ts';
import { type EventView, eventSchema } from '../../contracts/events.ts';
import { readEventHorizon } from '../../db/events.ts';
import { logout } from '../../domain/identity/sessions.ts';
import {
  openSocket,
  openSse,
  type SocketClient,
  type SseClient,
  type SseEvent,
} from '../support/event-streams.ts';
import { done, type House, startHouse } from '../support/house.ts';

let house: House;
beforeAll(async () => {
  house = await startHouse();
});
afterAll(() => house.close());

const streams: SseClient[] = [];
const sockets: SocketClient[] = [];
afterEach(async () => {
  for (const stream of streams.splice(0)) stream.close();
  for (const { socket } of sockets.splice(0)) socket.terminate();
});

async function stream(query = '', { as = 'admin:ada', lastEventId = '' } = {}): Promise<SseClient> {
  const client = await openSse(`${house.server.url()}/v1/events${query}`, {
    Authorization: `Bearer ${as}`,
    ...(lastEventId === '' ? {} : { 'Last-Event-ID': lastEventId }),
  });
  streams.push(client);
  if (client.response.status === 200) await client.until((events) => events.length > 0);
  return client;
}

async function connect(query = '', headers: Record<string, string> = {}): Promise<SocketClient> {
  const client = await openSocket(`${house.server.url()}/v1/events${query}`, headers);
  sockets.push(client);
  return client;
}

const views = (events: readonly SseEvent[]): EventView[] =>
  events.filter(({ event }) => event === undefined).map(({ data }) => eventSchema.parse(data));
const types = (events: readonly SseEvent[]) => views(events).map(({ type }) => type);
const hasType = (type: string) => (events: readonly SseEvent[]) =>
  types(events).some((each) => each === type);
/** By another process, whose announcement was lost. */
const revoke = (id: string) =>
  house.db('sessions').update({ revoked_at: new Date(), revoked_reason: 'revoked' }).where({ id });
const cancel = (taskId: string) => house.ask('POST', `/v1/tasks/${taskId}/cancel`);

describe('GET /v1/events as server-sent events', () => {
  it('says from where it hears, and then what commits', async () => {
    const client = await stream();
    expect(client.events[0]).toEqual({
      id: expect.stringMatching(/^\d+\.0$/),
      event: 'ready',
      data: { cursor: client.events[0]?.id },
    });
    const agentId = await house.addAgent();
    const task = await house.createTask({ title: 'files', target: { agentId } });
    await house.propose(task.id, 1, done(true, 'yes'));
    await client.until(hasType('task.completed'));
    const own = views(client.events).filter(({ taskId }) => taskId === task.id);
    expect(own.map(({ type }) => type)).toEqual(['task.created', 'task.assigned', 'task.completed']);
    expect(own[0]).toMatchObject({ data: { title: 'files', mode: 'supervised' }, agentId: null });
    expect(client.events.at(-1)?.id).toBe(own[2]?.id);
  });

  it('filters by task and type, also when it resumes', async () => {
    const task = await house.createTask();
    const filtered = await stream(`?taskId=${task.id}&type=task.canceled&type=task.archived`);
    const ofType = await stream('?type=task.archived');
    await cancel((await house.createTask()).id);
    await cancel(task.id);
    await house.ask('POST', `/v1/tasks/${task.id}/archive`);
    await filtered.until(hasType('task.archived'));
    await ofType.until(hasType('task.archived'));
    expect(types(filtered.events)).toEqual(['task.canceled', 'task.archived']);
    expect(types(ofType.events)).toEqual(['task.archived']);
    const again = await stream(`?taskId=${task.id}&type=task.archived`, {
      lastEventId: filtered.events[0]?.id ?? '',
    });
    await again.until(hasType('task.archived'));
    expect(types(again.events)).toEqual(['task.archived']);
    expect((await stream('?type=task.exploded')).response.status).toBe(422);
    expect((await stream('?tsakId=x')).response.status).toBe(422);
    expect((await stream('?taskId=nobody')).response.status).toBe(404);
  });

  it('resumes with what was missed, oldest first, and goes on live', async () => {
    const first = await stream();
    const before = await house.createTask();
    await first.until(hasType('task.created'));
    first.close();
    await first.ended;
    const last = first.events.at(-1)?.id ?? '';
    const missed = await Promise.all(Array.from({ length: 30 }, () => house.createTask()));
    const second = await stream('', { lastEventId: last });
    expect(second.events[0]).toMatchObject({ event: 'ready', id: last });
    const live = await house.createTask();
    await second.until((events) => views(events).some(({ taskId }) => taskId === live.id));
    const ids = views(second.events).map(({ taskId }) => taskId);
    for (const task of missed) expect(ids.filter((id) => id === task.id)).toHaveLength(1);
    expect(ids.at(-1)).toBe(live.id);
    // The last event itself is known to the client.
    expect(ids).not.toContain(before.id);
    const byQuery = await stream(`?lastEventId=${last}`);
    await byQuery.until((events) => views(events).length >= missed.length);
  });

  it('replays more than a stream may buffer', async () => {
    const cursor = `${await readEventHorizon(house.db)}.0`;
    const filler = 'x'.repeat(1_000);
    // The hub hears of rows written past it by its poll. It has to have heard before this test ends: 3 MB at once would
    // cut off whoever listens then.
    const hasHeard = new Promise<void>((resolve) => {
      const unsubscribe = house.hub.subscribe(({ row }) => {
        if (row.ownerId !== 'filler' || row.data.n !== 3_000) return;
        unsubscribe();
        resolve();
      });
    });
    await house.db.raw(
      `insert into events (type, owner_id, data)
       select 'agent.updated', 'filler', jsonb_build_object('n', n, 'filler', cast(:filler as text))
       from generate_series(1, 3000) as n`,
      { filler },
    );
    const client = await stream('?type=agent.updated', { lastEventId: cursor });
    await client.until((events) => events.length > 3_000);
    expect(views(client.events).map(({ data }) => data.n)).toEqual(
      Array.from({ length: 3_000 }, (_, n) => n + 1),
    );
    // A client cut off in the middle goes on there.
    const middle = await stream('?type=agent.updated', { lastEventId: client.events[1_500]?.id ?? '' });
    await middle.until((events) => views(events).some(({ data }) => data.n === 3_000));
    const numbers = views(middle.events).map(({ data }) => Number(data.n));
    for (let n = 1_501; n <= 3_000; n++) expect(numbers).toContain(n);
    house.hub.poke();
    await hasHeard;
  });

  it('replays events that are large', async () => {
    const cursor = `${await readEventHorizon(house.db)}.0`;
    const hasHeard = new Promise<void>((resolve) => {
      const unsubscribe = house.hub.subscribe(({ row }) => {
        if (row.type !== 'agent.duplicate_hostname' || row.data.n !== 100) return;
        unsubscribe();
        resolve();
      });
    });
    await house.db.raw(
      `insert into events (type, data)
       select 'agent.duplicate_hostname', jsonb_build_object('n', n, 'others', cast(:filler as text))
       from generate_series(1, 100) as n`,
      { filler: 'x'.repeat(30_000) },
    );
    const query = '?type=agent.duplicate_hostname';
    const isWhole = (frames: readonly unknown[]) => frames.length > 100;
    const client = await stream(query, { lastEventId: cursor });
    await client.until(isWhole);
    const socket = await connect(`${query}&lastEventId=${cursor}`, { Authorization: 'Bearer admin:ada' });
    await socket.until(isWhole);
    house.hub.poke();
    await hasHeard;
  });

  it('cuts off nobody who reads when much is heard of at once', async () => {
    const client = await stream('?type=agent.refresh_requested');
    const socket = await connect('?type=agent.refresh_requested', { Authorization: 'Bearer admin:ada' });
    await socket.until((frames) => frames.length > 0);
    await house.db.raw(
      `insert into events (type, data)
       select 'agent.refresh_requested', jsonb_build_object('n', n, 'filler', cast(:filler as text))
       from generate_series(1, 1800) as n`,
      { filler: 'x'.repeat(600) },
    );
    house.hub.poke();
    await client.until((events) => events.length > 1_800);
    await socket.until((frames) => frames.length > 1_800);
  });

  it('answers a cursor older than the retention from the oldest event', async () => {
    const first = await stream();
    const cursor = first.events[0]?.id ?? '';
    const gone = await house.createTask();
    await house.db('events').where({ task_id: gone.id }).delete();
    const kept = await house.createTask();
    const client = await stream('?type=task.created', { lastEventId: cursor });
    await client.until((events) => views(events).some(({ taskId }) => taskId === kept.id));
    expect(views(client.events).some(({ taskId }) => taskId === gone.id)).toBe(false);
  });

  it('refuses cursors that were never given out', async () => {
    const ahead = `${BigInt(await readEventHorizon(house.db)) + 1_000_000n}.1`;
    for (const lastEventId of ['junk', '1', '1.2.3', '-1.0', '1.x', `${'9'.repeat(20)}.1`, ahead]) {
      const refused = await stream('', { lastEventId });
      expect([lastEventId, refused.response.status]).toEqual([lastEventId, 422]);
      expect(refused.response.headers.get('Content-Type')).toContain('application/problem+json');
    }
  });

  it('shows users what is theirs, live and replayed', async () => {
    const mine = await stream('', { as: 'user:uma' });
    const all = await stream('', { as: 'viewer:vic' });
    const foreign = await house.createTask({}, 'user:otto');
    const agentId = await house.addAgent();
    const own = await house.createTask({ target: { agentId } }, 'user:uma');
    await house.ask('POST', `/v1/tasks/${own.id}/execute`, { act: { command: 'ls' } });
    const agent = await house.connect(agentId);
    const [commandId = ''] = await agent.claim();
    await agent.start(commandId);
    await agent.finish(commandId);
    await cancel(own.id);
    await mine.until(hasType('task.canceled'));
    const seen = [
      'task.created',
      'task.assigned',
      'task.proposed',
      'task.decided',
      'command.queued',
      'task.step_started',
      'command.sent',
      'command.started',
      'command.finished',
      'task.step_finished',
      'task.canceled',
    ];
    expect(types(mine.events)).toEqual(seen);
    expect(views(mine.events).every(({ taskId }) => taskId === own.id)).toBe(true);
    await all.until((events) => views(events).some(({ taskId }) => taskId === foreign.id));
    const replayed = await stream('', { as: 'user:uma', lastEventId: mine.events[0]?.id ?? '' });
    await replayed.until(hasType('task.canceled'));
    expect(types(replayed.events)).toEqual(seen);
    expect((await stream(`?taskId=${foreign.id}`, { as: 'user:uma' })).response.status).toBe(404);
    expect((await stream('', { as: 'agent:a1' })).response.status).toBe(403);
  });

  it('ends at once when its session is ended', async () => {
    const { accessToken, sessionId } = await house.login();
    const client = await stream('', { as: accessToken });
    const { user_id: id } = await house.db('sessions').first('user_id').where({ id: sessionId });
    const principal = { kind: 'user', id, name: 'admin', roles: ['admin'], sessionId } as const;
    const began = performance.now();
    await logout(house.deps, { principal, address: null, requestId: null });
    await client.ended;
    expect(performance.now() - began).toBeLessThan(4_500);
  });

  it('loses the rights that its user loses, and ends within five seconds of a revocation nobody announced', async () => {
    const { accessToken, sessionId } = await house.login();
    const client = await stream('', { as: accessToken });
    const has = (id: string) => views(client.events).some(({ taskId }) => taskId === id);
    /** A task of somebody else, then one of its own: when that is there, the other one has come or will not. */
    const seesForeign = async () => {
      const foreign = await house.createTask({}, 'user:otto');
      const own = await house.createTask({}, accessToken);
      await client.until(() => has(own.id));
      return has(foreign.id);
    };
    expect(await seesForeign()).toBe(true);
    await house.db('users').update({ role: 'user' }).where({ username: 'admin' });
    await expect.poll(seesForeign, { timeout: 5_000, interval: 250 }).toBe(false);
    await house.db('users').update({ role: 'admin' }).where({ username: 'admin' });
    await revoke(sessionId);
    const began = performance.now();
    await client.ended;
    expect(performance.now() - began).toBeLessThan(5_000);
  });
});

describe('/v1/events as WebSocket', () => {
  const admin = { Authorization: 'Bearer admin:ada' };
  const isReady = (frames: readonly unknown[]) => frames.length > 0;

  it('sends the same: ready, then events; token by header or query, filters and resume by query', async () => {
    const client = await connect('', admin);
    await client.until(isReady);
    const task = await house.createTask();
    await client.until((frames) => frames.length > 1);
    const [ready, event] = client.frames.map((frame) => eventFrameSchema.parse(frame));
    expect(ready?.type).toBe('ready');
    expect(event).toMatchObject({ type: 'event', event: { type: 'task.created', taskId: task.id } });
    const cursor = ready?.type === 'ready' ? ready.cursor : '';
    const resumed = await connect(`?token=user:uma&lastEventId=${cursor}&type=task.created`);
    const own = await house.createTask({}, 'user:uma');
    await resumed.until((frames) => frames.length > 1);
    expect(resumed.frames[1]).toMatchObject({ event: { taskId: own.id } });
    expect(resumed.frames[0]).toEqual({ type: 'ready', cursor });
  });

  it('closes 1008 without a frame for those who may not listen', async () => {
    for (const [query, headers] of [
      ['', {}],
      ['?token=nonsense', {}],
      ['', { Authorization: 'Bearer agent:a1' }],
    ] as const) {
      const client = await connect(query, headers);
      expect([await client.closed, client.frames]).toEqual([1008, []]);
    }
  });

  it('answers a bad query in plain HTTP', async () => {
    for (const [query, status] of [
      ['?type=nothing', 422],
      ['?lastEventId=junk', 422],
      ['?taskId=nobody', 404],
    ] as const) {
      await expect(connect(query, admin)).rejects.toThrow(`HTTP ${status}`);
    }
  });

  it('refuses binary frames and ignores text', async () => {
    const client = await connect('', admin);
    await client.until(isReady);
    client.socket.send('hello');
    client.socket.send(Buffer.from([1, 2]));
    expect(await client.closed).toBe(1003);
  });

  it('closes 1008 within five seconds after the session was revoked', async () => {
    const { accessToken, sessionId } = await house.login();
    const clients = await Promise.all(
      Array.from({ length: 5 }, () => connect('', { Authorization: `Bearer ${accessToken}` })),
    );
    await Promise.all(clients.map((client) => client.until(isReady)));
    const began = performance.now();
    await revoke(sessionId);
    expect(await Promise.all(clients.map(({ closed }) => closed))).toEqual(Array(5).fill(1008));
    expect(performance.now() - began).toBeLessThan(5_000);
  });

  it('cuts off a client that does not read, and keeps the others', async () => {
    const slow = await connect('', admin);
    const quick = await connect('?type=task.created', admin);
    await Promise.all([slow, quick].map((client) => client.until(isReady)));
    slow.socket.pause();
    const [row] = house.events;
    if (row === undefined) throw new Error('no event');
    // Until our buffer is full after those of both kernels.
    const filler = 'x'.repeat(50_000);
    for (let n = 0; n < 800; n++) {
      house.hub.offer([
        { ...row, id: 1e9 + n, xid: String(2n ** 60n), type: 'agent.updated', data: { filler } },
      ]);
      if (n % 20 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    slow.socket.resume();
    expect(await slow.closed).toBe(1006);
    const task = await house.createTask();
    await quick.until((frames) => JSON.stringify(frames).includes(task.id));
  });

  it('goes away with the server', async () => {
    const own = await startHouse();
    const client = await openSocket(`${own.server.url()}/v1/events`, admin);
    await client.until(isReady);
    const sse = await openSse(`${own.server.url()}/v1/events`, admin);
    await sse.until((events) => events.length > 0);
    const closing = own.close();
    expect(await client.closed).toBe(1001);
    await sse.ended;
    await closing;
  });
});
