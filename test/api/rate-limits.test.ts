/** Rate limits: what is counted, for whom, how it is told, and that processes count together where it matters. */
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { type MountedRoute, mount } from '../../api/mount.ts';
import type { Family } from '../../contracts/families/family.ts';
import { countedClassOf, type RateClassName, rateClasses } from '../../contracts/rate-classes.ts';
import { defineRoute } from '../../contracts/route.ts';
import { createDatabase, type Db } from '../../db/database.ts';
import { createSharedCounts } from '../../domain/shared-counts.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { startTestServer, type TestServer, type TestServerOptions } from '../support/http.ts';

const reply = { 200: z.object({}) };

/** A route of each family and class, answering nothing. */
function routeOf(
  family: Family,
  path: `/${string}`,
  rateClass: RateClassName,
  method: 'GET' | 'POST' = 'POST',
): MountedRoute {
  const contract = defineRoute({
    family,
    method,
    path,
    rateClass,
    summary: 'Do nothing',
    tags: ['test'],
    auth: 'public',
    replies: reply,
  });
  return mount(contract, async () => ({ status: 200, body: {} }));
}

const routes = [
  routeOf('dex-alice', '/api/v1/auth/login', 'login'),
  routeOf('dex-alice', '/api/v1/auth/register', 'account_registration'),
  routeOf('dex-alice', '/api/v1/auth/refresh', 'refresh'),
  routeOf('dex-alice', '/api/v1/auth/logout', 'logout'),
  routeOf('dex-alice', '/api/v1/auth/me', 'account', 'GET'),
  routeOf('steel', '/api/v1/jobs', 'read', 'GET'),
  routeOf('steel', '/api/v1/jobs', 'write'),
  routeOf('ananta', '/tasks', 'write'),
  routeOf('house', '/v1/auth/login', 'login'),
];

const opened: TestServer[] = [];
afterEach(async () => {
  await Promise.all(opened.splice(0).map((each) => each.close({ deadlineMs: 0 })));
});
async function start(given: TestServerOptions = {}): Promise<TestServer> {
  const { options, ...rest } = given;
  const server = await startTestServer({ routes, ...rest, options: { rateLimit: true, ...options } });
  opened.push(server);
  return server;
}

const as = (name: string) => ({ Authorization: `Bearer user:${name}` });
/** Behind one trusted proxy, as the client of this address. */
const from = (address: string) => ({ 'X-Forwarded-For': address });

/** How many of the calls are let through before the first 429. */
async function letThrough(server: TestServer, method: string, path: string, headers = {}): Promise<number> {
  for (let calls = 0; calls < 200; calls++) {
    const response = await server.fetch(path, { method, headers });
    await response.arrayBuffer();
    if (response.status === 429) return calls;
  }
  return Number.POSITIVE_INFINITY;
}

describe('the numbers', () => {
  it.each([
    ['POST', '/api/v1/auth/login', 5],
    ['POST', '/api/v1/auth/register', 5],
    ['POST', '/api/v1/auth/refresh', 10],
    ['POST', '/api/v1/auth/logout', 10],
    ['GET', '/api/v1/auth/me', 60],
    ['GET', '/api/v1/jobs', 120],
    ['POST', '/api/v1/jobs', 60],
    ['POST', '/tasks', 60],
  ])('%s %s: %i a minute', async (method, path, calls) => {
    const server = await start();
    expect(await letThrough(server, method, path, as('ada'))).toBe(calls);
  });

  it('are those of the house for its own reads and writes, those of the contracts elsewhere', () => {
    expect(countedClassOf('house', 'read', 'user')).toBe('read');
    for (const family of ['ananta', 'steel', 'dex', 'alice', 'dex-alice'] as const) {
      expect(countedClassOf(family, 'read', null)).toBe('family_read');
      expect(countedClassOf(family, 'write', 'user')).toBe('family_write');
      expect(countedClassOf(family, 'login', null)).toBe('login');
      expect(countedClassOf(family, 'unlimited', null)).toBeUndefined();
    }
    expect([rateClasses.family_read.calls, rateClasses.family_write.calls]).toEqual([120, 60]);
  });
});

describe('what is told', () => {
  it('is the old headers, the fields of the standard, and Retry-After with the refusal', async () => {
    const server = await start();
    const login = () => server.fetch('/api/v1/auth/login', { method: 'POST' });
    const first = await login();
    expect(first.headers.get('X-RateLimit-Limit')).toBe('5');
    expect(first.headers.get('X-RateLimit-Remaining')).toBe('4');
    expect(first.headers.get('RateLimit-Policy')).toBe('"login";q=5;w=60');
    expect(first.headers.get('RateLimit')).toMatch(/^"login";r=4;t=(59|60)$/);
    expect(first.headers.get('Retry-After')).toBeNull();
    for (let i = 0; i < 4; i++) await login();
    const refused = await login();
    const seconds = Number(refused.headers.get('Retry-After'));
    expect(refused.status).toBe(429);
    expect(seconds).toBeGreaterThan(50);
    expect(seconds).toBeLessThanOrEqual(60);
    expect(refused.headers.get('X-RateLimit-Remaining')).toBe('0');
    expect(refused.headers.get('RateLimit')).toBe(`"login";r=0;t=${seconds}`);
    const reset = Number(refused.headers.get('X-RateLimit-Reset'));
    expect(Math.abs(reset - (Date.now() / 1000 + seconds))).toBeLessThan(3);
    expect(await refused.json()).toMatchObject({
      code: 'RATE_LIMIT_EXCEEDED',
      detail: `Too many requests; try again in ${seconds} seconds`,
    });
  });

  it('may be read by pages of listed origins', async () => {
    const server = await start();
    const response = await server.fetch('/api/v1/jobs', { headers: { Origin: 'https://console.example' } });
    const exposed = response.headers.get('Access-Control-Expose-Headers')?.split(',') ?? [];
    for (const name of ['RateLimit', 'RateLimit-Policy', 'X-RateLimit-Remaining', 'Retry-After']) {
      expect(exposed).toContain(name);
    }
  });
});

describe('who is counted', () => {
  it('is the user where one is known, else the address', async () => {
    const server = await start({ options: { trustProxyHops: 1 } });
    expect(await letThrough(server, 'POST', '/api/v1/jobs', as('ada'))).toBe(60);
    expect((await server.fetch('/api/v1/jobs', { method: 'POST', headers: as('bob') })).status).toBe(200);
    // Nobody's calls are not those of the users behind the same address.
    expect(await letThrough(server, 'POST', '/api/v1/jobs', from('192.0.2.1'))).toBe(60);
    const other = { method: 'POST', headers: from('192.0.2.2') };
    expect((await server.fetch('/api/v1/jobs', other)).status).toBe(200);
  });

  it('agents and the shared token speak for fleets: each agent for itself, the token by address', async () => {
    const server = await start({ options: { trustProxyHops: 1 } });
    const call = (who: string, address: string) =>
      server.fetch('/api/v1/jobs', {
        method: 'POST',
        headers: { Authorization: `Bearer ${who}`, ...from(address) },
      });
    const remaining = async (who: string, address: string) =>
      Number((await call(who, address)).headers.get('X-RateLimit-Remaining'));
    expect(await remaining('agent:a', '192.0.2.1')).toBe(599);
    expect(await remaining('agent:b', '192.0.2.1')).toBe(599);
    expect(await remaining('system:token', '192.0.2.1')).toBe(599);
    expect(await remaining('system:token', '192.0.2.1')).toBe(598);
    expect(await remaining('system:token', '192.0.2.2')).toBe(599);
  });

  it('a login counts by address, whoever the headers say asks, on every path of it', async () => {
    const server = await start();
    const statuses: number[] = [];
    for (let i = 0; i < 8; i++) {
      const path = i % 2 === 0 ? '/api/v1/auth/login' : '/v1/auth/login';
      const headers = {
        ...as(`name-${i}`),
        'X-Forwarded-For': `203.0.113.${i}`,
        'X-Real-IP': `203.0.113.${i}`,
        Forwarded: `for=203.0.113.${i}`,
        'X-Client-IP': `203.0.113.${i}`,
        'True-Client-IP': `203.0.113.${i}`,
        'CF-Connecting-IP': `203.0.113.${i}`,
      };
      statuses.push((await server.fetch(path, { method: 'POST', headers })).status);
    }
    expect(statuses).toEqual([200, 200, 200, 200, 200, 429, 429, 429]);
  });

  it('entries that a client puts before those of the trusted proxy change nothing', async () => {
    const server = await start({ options: { trustProxyHops: 1 } });
    let passed = 0;
    for (let i = 0; i < 8; i++) {
      const headers = from(`203.0.113.${i}, 10.0.0.${i}, 192.0.2.9`);
      if ((await server.fetch('/api/v1/auth/login', { method: 'POST', headers })).status === 200) passed++;
    }
    expect(passed).toBe(5);
  });

  it('an IPv6 subscriber is one, with all of its addresses and their spellings', async () => {
    const server = await start({ options: { trustProxyHops: 1 } });
    const addresses = [
      '2001:db8:0:1::1',
      '2001:db8::1:0:0:0:2',
      '2001:0DB8:0000:0001:ffff:ffff:ffff:ffff',
      '2001:db8:0:1:a:b:c:d',
      '2001:db8:0:1::192.0.2.1',
    ];
    for (const address of addresses) {
      const login = { method: 'POST', headers: from(address) };
      expect((await server.fetch('/api/v1/auth/login', login)).status).toBe(200);
    }
    const same = { method: 'POST', headers: from('2001:db8:0:1::99') };
    expect((await server.fetch('/api/v1/auth/login', same)).status).toBe(429);
    const neighbour = { method: 'POST', headers: from('2001:db8:0:2::1') };
    expect((await server.fetch('/api/v1/auth/login', neighbour)).status).toBe(200);
  });
});

describe('several processes', () => {
  let database: TestDatabase;
  let db: Db;
  beforeAll(async () => {
    database = await createTestDatabase();
    db = createDatabase({ url: database.url, poolMax: 10, applicationName: 'test-rate-limits' });
  });
  afterAll(async () => {
    await db.destroy();
    await database.drop();
  });
  const log = { debug() {}, info() {}, warn() {}, error() {} };
  const clear = () => db.raw('delete from rate_windows');

  it('count logins together, also when they come at once', async () => {
    await clear();
    const countShared = createSharedCounts({ db, log });
    const servers = await Promise.all([1, 2, 3].map(() => start({ countShared })));
    const calls = servers.flatMap((server) =>
      Array.from({ length: 4 }, () => server.fetch('/v1/auth/login', { method: 'POST' })),
    );
    const statuses = (await Promise.all(calls)).map((response) => response.status);
    expect(statuses.filter((status) => status === 200)).toHaveLength(5);
    expect(statuses.filter((status) => status === 429)).toHaveLength(7);
  });

  it('ask the database no more for whom this process refuses anyway', async () => {
    let asked = 0;
    const server = await start({
      countShared: async () => {
        asked += 1;
        return { calls: asked, msLeft: 1_000 };
      },
    });
    for (let i = 0; i < 20; i++) await server.fetch('/v1/auth/login', { method: 'POST' });
    expect(asked).toBe(5);
    await server.fetch('/api/v1/jobs');
    expect(asked).toBe(5);
  });

  it('count for themselves while the database is away, and say so', async () => {
    const countShared = async () => {
      throw new Error('no database');
    };
    const server = await start({ countShared });
    expect(await letThrough(server, 'POST', '/v1/auth/login')).toBe(5);
    expect(server.lines.filter((line) => line.event === 'rate_count_failed')).toHaveLength(5);
  });

  it('begin a new window when the last one has ended, and forget ended ones', async () => {
    await clear();
    const count = createSharedCounts({ db, log });
    expect((await count('a', 60_000)).calls).toBe(1);
    const second = await count('a', 60_000);
    expect(second.calls).toBe(2);
    expect(second.msLeft).toBeGreaterThan(55_000);
    expect(second.msLeft).toBeLessThanOrEqual(60_000);
    await db.raw(`update rate_windows set ends_at = now() - interval '1 second'`);
    expect((await count('a', 60_000)).calls).toBe(1);
    await db.raw(
      `insert into rate_windows (key, calls, ends_at) values ('old', 1, now() - interval '1 second')`,
    );
    for (let i = 0; i < 200; i++) await count('b', 60_000);
    await expect.poll(async () => (await db('rate_windows').where({ key: 'old' })).length).toBe(0);
    expect(await db('rate_windows').where({ key: 'b' })).toHaveLength(1);
  });
});
