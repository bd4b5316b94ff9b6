/** Sockets of people and programs: from which pages, how many, how large, and how long. */
import { afterEach, describe, expect, it, vi } from 'vitest';
import WebSocket from 'ws';
import type { Authenticate } from '../../api/context.ts';
import { createSessionWatch, type Recheck } from '../../api/events/session-watch.ts';
import { createOpenStreams } from '../../api/open-streams.ts';
import type { RefusedUpgrade, UpgradeRoute } from '../../api/upgrade.ts';
import { acceptUserSocket, identifyUpgrade } from '../../api/user-sockets.ts';
import { problem } from '../../contracts/errors.ts';
import type { Principal } from '../../contracts/principal.ts';
import { authenticateByName, startTestServer, type TestServer } from '../support/http.ts';

const opened: TestServer[] = [];
const sockets: WebSocket[] = [];
afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.terminate();
  await Promise.all(opened.splice(0).map((each) => each.close({ deadlineMs: 0 })));
  vi.useRealTimers();
});

const log = { debug() {}, info() {}, warn() {}, error() {} };
const right = { verb: 'list', resource: 'event' } as const;

interface Given {
  maxOfPrincipal?: number;
  recheck?: Recheck;
  maxFrameBytes?: number;
  authenticate?: Authenticate;
}

interface Stage {
  server: TestServer;
  /** Opens a socket; what became of it: `open`, a close code, or `<status> <body>`. */
  dial(
    headers?: Record<string, string>,
    path?: string,
  ): Promise<{ socket: WebSocket; fate: string | number }>;
  refused: RefusedUpgrade[];
  /** As the hub says it. */
  announce(type: string): void;
  /** Principals of the sockets, with the rights of now. */
  viewers: { principal: Principal }[];
}

/** A server with one route for sockets, `/v1/events`, that says hello. */
async function start(given: Given = {}): Promise<Stage> {
  const refused: RefusedUpgrade[] = [];
  const viewers: Stage['viewers'] = [];
  const listeners = new Set<(event: never) => void>();
  const hub = {
    subscribe(listener: (event: never) => void) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
  };
  const recheck: Recheck = given.recheck ?? (async (principals) => [...principals]);
  const sessions = createSessionWatch({ hub: hub as never, log, recheck });
  const streams = createOpenStreams({ max: given.maxOfPrincipal ?? 10 });
  const route: UpgradeRoute = {
    path: '/v1/events',
    ...(given.maxFrameBytes !== undefined && { maxFrameBytes: given.maxFrameBytes }),
    async handle(upgrade) {
      const authenticate = given.authenticate ?? authenticateByName;
      const principal = await identifyUpgrade({ authenticate }, upgrade);
      if (principal === null) return upgrade.refuse('nobody');
      const { viewer } = await acceptUserSocket(
        { sessions, streams },
        upgrade,
        { principal, right },
        (ws) => {
          ws.send('hello');
          return { expel: () => ws.close(1008, 'gone') };
        },
      );
      viewers.push(viewer);
    },
  };
  const server = await startTestServer({
    upgrades: [route],
    origins: ['https://console.example'],
    onRefused: (each) => refused.push(each),
  });
  opened.push(server);
  return {
    server,
    refused,
    viewers,
    announce: (type) => {
      for (const listener of listeners) listener({ row: { type } } as never);
    },
    dial(headers = { authorization: 'Bearer user:ada' }, path = '/v1/events') {
      const socket = new WebSocket(`${server.url().replace('http', 'ws')}${path}`, { headers });
      sockets.push(socket);
      return new Promise((resolve) => {
        socket.on('error', () => {});
        socket.once('message', () => resolve({ socket, fate: 'open' }));
        socket.once('close', (code) => resolve({ socket, fate: code }));
        socket.on('unexpected-response', (_request, response) => {
          let text = '';
          response.on('data', (chunk: Buffer) => (text += String(chunk)));
          response.on('end', () => resolve({ socket, fate: `${response.statusCode} ${text}` }));
        });
      });
    },
  };
}

const closeOf = (socket: WebSocket): Promise<number> =>
  new Promise((resolve) => socket.once('close', resolve));

describe('the page', () => {
  const bearer = { authorization: 'Bearer user:ada' };

  it('is none for a program, a listed one, or our own on the loopback address', async () => {
    const stage = await start();
    const { port } = new URL(stage.server.url());
    const pages: Record<string, string>[] = [
      {},
      { origin: 'https://console.example' },
      { origin: `http://127.0.0.1:${port}` },
      { origin: `http://localhost:${port}` },
    ];
    for (const headers of pages) {
      expect([(await stage.dial({ ...bearer, ...headers })).fate, headers]).toEqual(['open', headers]);
    }
  });

  it.each([
    'null',
    'https://evil.example',
    'https://console.example.evil.example',
    'https://console.example:444',
    'http://console.example',
    'https://console.example/',
    'http://localhost:1',
    'http://localhost',
    '',
  ])('%s is refused in plain HTTP before anybody is asked who they are', async (origin) => {
    let asked = 0;
    const stage = await start({
      authenticate: async () => {
        asked += 1;
        return null;
      },
    });
    const { fate } = await stage.dial({ ...bearer, origin, host: 'evil.example' });
    expect(fate).toMatch(/^403 .*"code":"origin_not_allowed"/);
    expect(asked).toBe(0);
    expect(stage.refused).toMatchObject([{ path: '/v1/events', code: 'origin_not_allowed' }]);
  });

  it('is told so in the dialect of the path, with the correlation id of the client', async () => {
    const stage = await start();
    const headers = { ...bearer, origin: 'https://evil.example', 'x-request-id': 'mine-1' };
    const { fate } = await stage.dial(headers);
    expect(JSON.parse(String(fate).slice(4))).toMatchObject({ status: 403, requestId: 'mine-1' });
    expect(stage.refused[0]?.requestId).toBe('mine-1');
  });
});

describe('how many', () => {
  it('of one principal are bounded, freed when they end, and another has its own', async () => {
    const stage = await start({ maxOfPrincipal: 2 });
    const [first] = [await stage.dial(), await stage.dial()];
    const third = await stage.dial();
    expect(third.fate).toMatch(/^429 /);
    expect(stage.refused.at(-1)?.code).toBe('rate_limited');
    expect((await stage.dial({ authorization: 'Bearer user:bob' })).fate).toBe('open');
    first.socket.close();
    await expect.poll(async () => (await stage.dial()).fate).toBe('open');
  });
});

describe('how large', () => {
  it('a frame above the route’s bound ends the socket', async () => {
    const stage = await start({ maxFrameBytes: 1_000 });
    const { socket } = await stage.dial();
    socket.send('x'.repeat(1_000));
    const closed = closeOf(socket);
    socket.send('x'.repeat(1_001));
    expect(await closed).toBe(1009);
  });

  it('compression is not spoken: a small frame is never a large one', async () => {
    const stage = await start();
    const { socket } = await stage.dial();
    expect(socket.extensions).toBe('');
  });
});

describe('how long', () => {
  const ada = (roles: Principal['roles']): Principal => ({
    kind: 'user',
    id: 'ada',
    name: 'ada',
    roles,
    sessionId: 's1',
  });

  it('until the credential ends, at once when that is announced', async () => {
    let isLive = true;
    const stage = await start({ recheck: async (all) => all.map((each) => (isLive ? each : null)) });
    const { socket } = await stage.dial();
    isLive = false;
    const since = performance.now();
    stage.announce('session.revoked');
    expect(await closeOf(socket)).toBe(1008);
    expect(performance.now() - since).toBeLessThan(4_500); // Else it is found by the look of every five seconds.
  });

  it('and within five seconds when nobody says so', async () => {
    let isLive = true;
    const stage = await start({ recheck: async (all) => all.map((each) => (isLive ? each : null)) });
    const { socket } = await stage.dial();
    isLive = false;
    const since = performance.now();
    expect(await closeOf(socket)).toBe(1008);
    expect(performance.now() - since).toBeLessThan(5_000);
  });

  it('until its owner no longer holds the right, whose rights are read again', async () => {
    let now: Principal = ada(['operator']);
    const stage = await start({ recheck: async (all) => all.map(() => now) });
    const { socket } = await stage.dial();
    now = ada(['user']);
    stage.announce('session.revoked');
    await expect.poll(() => stage.viewers[0]?.principal.roles).toEqual(['user']);
    expect(socket.readyState).toBe(WebSocket.OPEN);
    now = ada([]);
    stage.announce('session.revoked');
    expect(await closeOf(socket)).toBe(1008);
  });

  it('stays while the database is away', async () => {
    let asked = 0;
    const stage = await start({
      recheck: async () => {
        asked += 1;
        throw new Error('no database');
      },
    });
    const { socket } = await stage.dial();
    stage.announce('session.revoked');
    await expect.poll(() => asked).toBeGreaterThan(0);
    expect(socket.readyState).toBe(WebSocket.OPEN);
  });
});

describe('what is refused', () => {
  it('is logged and told without what the client wrote into it', async () => {
    const stage = await start();
    const path = '/v1/events?token=user-secret&x=%0d%0aforged%1b[31m';
    expect((await stage.dial({}, path)).fate).toBe(1008);
    const text = JSON.stringify([stage.server.lines, stage.refused]);
    expect(text).not.toContain('user-secret');
    expect(text).not.toMatch(/\\r|\\n|\\u001b/);
    expect(stage.refused).toMatchObject([{ code: 'refused', reason: 'nobody' }]);
  });

  it('a route that throws says nothing of why', async () => {
    const stage = await start({
      authenticate: async () => {
        throw new Error('the password is hunter2');
      },
    });
    const { fate } = await stage.dial();
    expect(fate).toMatch(/^500 /);
    expect(fate).not.toContain('hunter2');
    const known = await start({
      authenticate: async () => {
        throw problem('invalid_token');
      },
    });
    expect((await known.dial()).fate).toBe(1008);
  });
});
