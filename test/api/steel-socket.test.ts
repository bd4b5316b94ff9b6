/** `/ws` of steel on real sockets: who is let in, the exact frames, what can be followed, and how it ends. */
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import WebSocket from 'ws';
import { MAX_STREAMS_OF_PRINCIPAL } from '../../api/open-streams.ts';
import {
  MAX_STEEL_FRAME_BYTES,
  MAX_STEEL_FRAMES_IN_WINDOW,
  type SteelServerFrame,
  steelServerFrameSchema,
} from '../../contracts/families/steel/socket.ts';
import { type System, startSystem } from '../support/system.ts';
import { deskOf } from '../support/tasks.ts';

const AGENT_TOKEN = 'the-shared-agent-token-of-this-test';
const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}$/;

let system: System;
let operator = '';
beforeAll(async () => {
  system = await startSystem({ worker: false, env: { AGENT_TOKEN } });
  operator = await deskOf(system).addUser('operator', 'ada');
});
afterAll(() => system.close());

interface Client {
  socket: WebSocket;
  /** Texts as they came. */
  texts: string[];
  frames(): SteelServerFrame[];
  /** Sends and waits for the next frame. */
  say(message: string | Buffer | object): Promise<string>;
  until(isEnough: (frames: SteelServerFrame[]) => boolean): Promise<void>;
  closed: Promise<{ code: number; reason: string }>;
}

const clients: WebSocket[] = [];
afterEach(() => {
  for (const socket of clients.splice(0)) socket.terminate();
});

/** Dials; `texts` holds what came before the socket was closed or first spoken to. */
async function dial(path = '/ws', headers: Record<string, string> = {}, url = system.url): Promise<Client> {
  const socket = new WebSocket(`${url.replace('http', 'ws')}${path}`, { headers });
  clients.push(socket);
  const texts: string[] = [];
  const closed = new Promise<{ code: number; reason: string }>((resolve) => {
    socket.once('close', (code, reason) => resolve({ code, reason: String(reason) }));
  });
  socket.on('message', (bytes) => texts.push(String(bytes)));
  await new Promise<void>((resolve, reject) => {
    socket.once('open', resolve);
    socket.on('error', reject);
  });
  const frames = () => texts.map((text) => steelServerFrameSchema.parse(JSON.parse(text)));
  return {
    socket,
    texts,
    frames,
    async say(message) {
      const count = texts.length;
      socket.send(
        typeof message === 'string' || Buffer.isBuffer(message) ? message : JSON.stringify(message),
      );
      await vi.waitFor(() => expect(texts.length).toBeGreaterThan(count), 5_000);
      return texts[count] ?? '';
    },
    until: (isEnough) => vi.waitFor(() => expect(isEnough(frames())).toBe(true), 5_000),
    closed,
  };
}

/** Dials with a header and waits for the greeting. */
async function enter(token = operator): Promise<Client> {
  const client = await dial('/ws', { authorization: `Bearer ${token}` });
  await client.until((frames) => frames.length === 1);
  return client;
}

describe('who is let in', () => {
  const greeting = (user: string) =>
    new RegExp(`^{"type":"connection","status":"connected","user":"${user}","timestamp":"[-:T.\\d]{26}"}$`);

  it('whoever shows a token in the query or a header, or a ticket', async () => {
    const { ticket } = await system.call<{ ticket: string }>('POST', '/v1/auth/tickets', undefined, {
      token: operator,
    });
    const ways: [string, Record<string, string>][] = [
      [`/ws?token=${operator}`, {}],
      ['/ws', { authorization: `Bearer ${operator}` }],
      ['/ws/', { authorization: `bearer ${operator}` }],
      [`/ws?ticket=${ticket}`, {}],
      [`/ws?token=${operator}`, { origin: system.url }],
    ];
    for (const [path, headers] of ways) {
      const client = await dial(path, headers);
      await client.until((frames) => frames.length === 1);
      expect(client.texts[0]).toMatch(greeting('ada'));
    }
  });

  it('the holder of the shared token, and whoever reads', async () => {
    expect((await enter(AGENT_TOKEN)).texts[0]).toContain('"status":"connected"');
    const viewer = await deskOf(system).addUser('viewer', 'vera');
    expect((await enter(viewer)).texts[0]).toMatch(greeting('vera'));
  });

  it.each<[string, () => Promise<[string, Record<string, string>]>]>([
    ['nobody', async () => ['/ws', {}]],
    ['an empty token', async () => ['/ws?token=', {}]],
    ['a made-up token', async () => ['/ws?token=nonsense', {}]],
    ['a made-up bearer', async () => ['/ws', { authorization: 'Bearer a.b.c' }]],
    ['a bearer without a token', async () => ['/ws', { authorization: 'Bearer' }]],
    ['another scheme', async () => ['/ws', { authorization: 'Basic YWRtaW46eA==' }]],
    ['a made-up ticket', async () => ['/ws?ticket=stk_none', {}]],
    ['an agent', async () => ['/ws', { authorization: `Bearer ${(await system.enrol()).agentToken}` }]],
    [
      'a session that has ended',
      async () => {
        const token = await deskOf(system).addUser('operator', 'gone');
        await system.call('POST', '/auth/logout', undefined, { token });
        return [`/ws?token=${token}`, {}];
      },
    ],
    [
      'a refresh token',
      async () => {
        const tokens = await system.call<{ refresh_token: string }>('POST', '/auth/login', {
          username: 'admin',
          password: system.env.ADMIN_PASSWORD,
        });
        return [`/ws?token=${tokens.refresh_token}`, {}];
      },
    ],
    [
      'an account that has to change its password',
      async () => {
        const token = await deskOf(system).addUser('operator', 'forgetful');
        await system.api.parts
          .db('users')
          .where({ username: 'forgetful' })
          .update({ must_change_password: true });
        return [`/ws?token=${token}`, {}];
      },
    ],
    [
      'a used ticket',
      async () => {
        const { ticket } = await system.call<{ ticket: string }>('POST', '/v1/auth/tickets');
        await dial(`/ws?ticket=${ticket}`);
        return [`/ws?ticket=${ticket}`, {}];
      },
    ],
  ])('%s is closed with 1008 and told nothing', async (_who, credential) => {
    const client = await dial(...(await credential()));
    expect((await client.closed).code).toBe(1008);
    expect(client.texts).toEqual([]);
  });

  it('one who holds too many is closed with 1008 as well', async () => {
    const token = await deskOf(system).addUser('user', 'greedy');
    for (let left = MAX_STREAMS_OF_PRINCIPAL; left > 0; left -= 50) {
      await Promise.all(Array.from({ length: Math.min(50, left) }, () => enter(token)));
    }
    const client = await dial(`/ws?token=${token}`);
    expect((await client.closed).code).toBe(1008);
    expect(client.texts).toEqual([]);
  }, 30_000);

  it('no page of another origin', async () => {
    await expect(dial(`/ws?token=${operator}`, { origin: 'https://evil.example' })).rejects.toThrow('403');
  });

  it('keeps tokens out of the log', async () => {
    await dial('/ws?token=sta_a-token-that-nobody-may-see');
    expect(JSON.stringify(system.lines)).not.toContain('that-nobody-may-see');
  });
});

describe('what is said', () => {
  it('is echoed with the time and the user, members in order', async () => {
    const client = await enter();
    for (const data of ['{}', '{"a":[1,2.5,null,true,"ü\\u20ac"],"b":{"c":{}}}', '{"type":"subscribe"}']) {
      const text = await client.say(data);
      const [, echoed, time] =
        /^{"type":"message","data":(.*),"timestamp":"([^"]+)","user":"ada"}$/.exec(text) ?? [];
      expect(echoed).toBe(JSON.stringify(JSON.parse(data)));
      expect(time).toMatch(TIME);
    }
  });

  it.each([
    '',
    'hello',
    '{"a":1',
    "{'a':1}",
    '{"a":NaN}',
    '{"__proto__":{}}',
    '{"a":1,"a":2}',
    `${'['.repeat(65)}${']'.repeat(65)}`,
    `{"a":${'['.repeat(20_000)}${']'.repeat(20_000)}}`,
  ])('%# is no JSON', async (text) => {
    const client = await enter();
    expect(await client.say(text)).toBe('{"type":"error","message":"Invalid JSON format"}');
    expect(await client.say({ still: 'here' })).toContain('"data":{"still":"here"}');
  });

  it.each(['[]', '[{}]', '"text"', '1', 'true', 'null'])('%s is no object', async (text) => {
    const client = await enter();
    expect(await client.say(text)).toBe(
      '{"type":"error","message":"Invalid message format: must be JSON object"}',
    );
  });

  it('comes back in the order in which it was said', async () => {
    const client = await enter();
    for (let n = 0; n < 500; n++) client.socket.send(JSON.stringify({ n }));
    await client.until((frames) => frames.length === 501);
    const numbers = client.frames().flatMap((frame) => (frame.type === 'message' ? [frame.data.n] : []));
    expect(numbers).toEqual(Array.from({ length: 500 }, (_, n) => n));
  });

  it.each([Buffer.from('{"a":1}'), Buffer.from([0, 255]), Buffer.alloc(0)])(
    'binary (%#) closes with 1011',
    async (bytes) => {
      const client = await enter();
      client.socket.send(bytes, { binary: true });
      expect((await client.closed).code).toBe(1011);
      expect(client.texts).toHaveLength(1);
    },
  );

  it('text that is no UTF-8 closes with 1007, what is too large with 1009', async () => {
    const broken = await enter();
    broken.socket.send(Buffer.from([0x7b, 0xc3, 0x28, 0x7d]), { binary: false });
    expect((await broken.closed).code).toBe(1007);
    const large = await enter();
    const fits = JSON.stringify({ a: 'x'.repeat(MAX_STEEL_FRAME_BYTES - 8) });
    expect(Buffer.byteLength(fits)).toBe(MAX_STEEL_FRAME_BYTES);
    expect(JSON.parse(await large.say(fits))).toMatchObject({ type: 'message' });
    large.socket.send(`${fits} `);
    expect((await large.closed).code).toBe(1009);
  });

  it('too often closes with 1008', async () => {
    const client = await enter();
    for (let n = 0; n <= MAX_STEEL_FRAMES_IN_WINDOW; n++) client.socket.send('{}');
    expect(await client.closed).toEqual({ code: 1008, reason: 'too many messages' });
    expect(client.texts).toHaveLength(MAX_STEEL_FRAMES_IN_WINDOW + 1);
  });

  it('closes with 1011 when something breaks here', async () => {
    const client = await enter();
    const stringify = vi.spyOn(JSON, 'stringify').mockImplementationOnce(() => {
      throw new Error('out of memory, says the test');
    });
    client.socket.send('{}');
    expect(await client.closed).toEqual({ code: 1011, reason: 'internal error' });
    stringify.mockRestore();
    expect(system.lines).toContainEqual(expect.objectContaining({ event: 'steel_socket_failed' }));
  });
});

describe('what is followed', () => {
  const create = (token = system.token()) =>
    system.call<{ id: string }>('POST', '/v1/tasks', { goal: 'look around' }, { token });
  const eventsOf = (client: Client) =>
    client.frames().flatMap((frame) => (frame.type === 'event' ? [frame] : []));
  const subscribe = (client: Client, topics: unknown) => client.say({ type: 'subscribe', topics });

  it('are events of tasks, from then on', async () => {
    const client = await enter();
    const before = await create();
    expect(await subscribe(client, ['tasks'])).toMatch(
      /^{"type":"subscribed","topics":\["tasks"\],"timestamp":"[^"]+","user":"ada"}$/,
    );
    const { id } = await create();
    await client.until(() => eventsOf(client).length === 1);
    expect(client.texts.at(-1)).toMatch(
      /^{"type":"event","topic":"tasks","data":{"id":"\d+\.\d+","event":"t/,
    );
    expect(eventsOf(client)[0]?.data).toEqual({
      id: expect.any(String),
      event: 'task.created',
      timestamp: expect.stringMatching(TIME),
      task_id: id,
      run_id: id,
      command_id: null,
      agent_id: null,
      data: expect.objectContaining({ mode: 'supervised' }),
    });
    expect(JSON.stringify(client.texts)).not.toContain(before.id);
  });

  it('are events of commands as well, until others are named', async () => {
    const { agentId } = await system.enrol('steel-target');
    const run = () => system.call('POST', '/v1/commands', { agentIds: [agentId], act: { command: 'true' } });
    const client = await enter();
    await subscribe(client, ['commands', 'commands']);
    await run();
    await client.until(() => eventsOf(client).length > 0);
    expect(eventsOf(client)[0]).toMatchObject({
      topic: 'commands',
      data: { event: 'command.queued', agent_id: agentId, task_id: null },
    });
    expect(await subscribe(client, [])).toContain('"topics":[]');
    const count = eventsOf(client).length;
    await run();
    await create();
    expect(await client.say({ still: 'here' })).toContain('"type":"message"');
    expect(eventsOf(client)).toHaveLength(count);
  });

  it.each([[['nonsense']], ['tasks'], [null], [{}], [Array.from({ length: 17 }, () => 'tasks')]])(
    'are no others: %j',
    async (topics) => {
      const client = await enter();
      expect(await subscribe(client, topics)).toBe(
        '{"type":"error","message":"Invalid topics: must be a list of tasks, commands"}',
      );
    },
  );

  it('are their own for those who see no others', async () => {
    const token = await deskOf(system).addUser('user', 'uma');
    const client = await enter(token);
    await subscribe(client, ['tasks', 'commands']);
    await create();
    const own = await create(token);
    await client.until(() => eventsOf(client).length > 0);
    expect(eventsOf(client).map(({ data }) => data.task_id)).toEqual([own.id]);
  });

  it('come from other processes', async () => {
    const other = await system.openApi();
    const client = await dial('/ws', { authorization: `Bearer ${operator}` }, other.url);
    await client.until((frames) => frames.length === 1);
    await subscribe(client, ['tasks']);
    const { id } = await create();
    await client.until(() => eventsOf(client).some(({ data }) => data.task_id === id));
  });
});

describe('how it ends', () => {
  const acts: [string, (userId: string, token: string) => Promise<unknown>][] = [
    ['logs out', (_, token) => system.call('POST', '/auth/logout', undefined, { token })],
    ['is disabled', (userId) => system.call('PATCH', `/v1/users/${userId}`, { isActive: false })],
    [
      'has a session that was taken away without a word',
      (userId) =>
        system.api.parts.db('sessions').where({ user_id: userId }).update({ revoked_at: new Date() }),
    ],
  ];
  it.each(acts)('within 5 seconds with 1008 when the user %s', async (what, act) => {
    const token = await deskOf(system).addUser('operator', `leaver-${what.length}`);
    const { id } = await system.call<{ id: string }>('GET', '/v1/auth/me', undefined, { token });
    const client = await enter(token);
    await client.say({ type: 'subscribe', topics: ['tasks'] });
    const since = performance.now();
    await act(id, token);
    expect((await client.closed).code).toBe(1008);
    expect(performance.now() - since).toBeLessThan(5_000);
  });

  it('with 1001 when the server stops', async () => {
    const other = await system.openApi();
    const client = await dial('/ws', { authorization: `Bearer ${operator}` }, other.url);
    await client.until((frames) => frames.length === 1);
    await other.close();
    expect((await client.closed).code).toBe(1001);
  });
});
