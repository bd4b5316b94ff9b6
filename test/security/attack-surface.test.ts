/** What holds for every route there is, and what a stranger finds by trying. */
import { spawnSync } from 'node:child_process';
import { request as httpRequest } from 'node:http';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { createRoutes } from '../../api/routes/index.ts';
import type { RouteContract } from '../../contracts/route.ts';
import { addressLimits } from '../../domain/identity/attempts.ts';
import { createPasswordHasher } from '../../domain/identity/passwords.ts';
import { addAccount, freshAddress, totpToken, userPassword } from '../support/second-factor.ts';
import { type System, startSystem } from '../support/system.ts';

const CANARY = 'canary-9f2d41c7';

let system: System;
beforeAll(async () => {
  system = await startSystem({
    worker: false,
    env: { TRUST_PROXY_HOPS: '1', AGENT_TOKEN: 'the-shared-agent-token-of-this-test' },
  });
});
afterAll(() => system.close());

/** Making routes touches no dependency. */
const routes = createRoutes({} as never);
const contracts: RouteContract[] = routes.map(({ contract }) => contract);
const nameOf = ({ method, path }: RouteContract): string => `${method} ${path}`;
const writes = contracts.filter((contract) => contract.body !== undefined);

async function post(path: string, body: unknown, headers: Record<string, string> = {}) {
  const reply = await fetch(`${system.url}${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'x-forwarded-for': freshAddress(), ...headers },
    body: typeof body === 'string' ? body : JSON.stringify(body),
  });
  return { status: reply.status, headers: reply.headers, text: await reply.text() };
}

const addUser = async (name: string, role: 'user' | 'admin' = 'user') => {
  const passwords = createPasswordHasher({ cost: 4 });
  return addAccount({ db: system.api.parts.db, deps: { passwords } } as never, name, { role });
};

describe('every body', () => {
  /** What browsers send is theirs. */
  const foreign = ['POST /api/system/csp-report'];
  const privileged = ['id', 'role', 'isAdmin', 'is_active', 'lockedUntil', 'failed_attempts', 'passwordHash'];

  it.each(
    writes.filter((each) => !foreign.includes(nameOf(each))).map((each) => [nameOf(each), each] as const),
  )('%s takes no field that it does not name', (_name, { body, family }) => {
    // Clients and machines that are out there send more than was asked for: it is read over, and goes nowhere.
    const isTolerant = family === 'dex' || family === 'ananta';
    const io = isTolerant ? 'output' : 'input';
    const schema = z.toJSONSchema(body as z.ZodType, { io, unrepresentable: 'any' });
    const variants = (schema.anyOf ?? schema.oneOf ?? [schema]) as z.core.JSONSchema.BaseSchema[];
    for (const variant of variants) {
      if (variant.type !== 'object') continue;
      expect(variant.additionalProperties).toBe(false);
      if (isTolerant) continue;
      const extras = privileged.filter((field) => !(field in (variant.properties ?? {})));
      const tags = Object.entries(variant.properties ?? {}).flatMap(([field, value]) =>
        typeof value === 'object' && value.const !== undefined ? [[field, value.const]] : [],
      );
      const given = Object.fromEntries([...tags, ...extras.map((field) => [field, 'x'])]);
      const issues = (body as z.ZodType).safeParse(given).error?.issues ?? [];
      expect(JSON.stringify(issues)).toContain('unrecognized_keys');
    }
  });

  it('reaches no prototype and nests no deeper than the limit, whoever sends it to whichever route', async () => {
    const nested = `${'['.repeat(10_000)}${']'.repeat(10_000)}`;
    const headers = { authorization: `Bearer ${system.token()}` };
    for (const contract of writes) {
      const path = contract.path.replaceAll(/\{\w+\}/g, '01890000-0000-7000-8000-000000000000');
      for (const body of [
        '{"__proto__":{"role":"admin"}}',
        '{"a":{"constructor":{"prototype":{}}}}',
        nested,
      ]) {
        const reply = await fetch(`${system.url}${path}`, {
          method: contract.method,
          headers: { 'content-type': 'application/json', 'x-forwarded-for': freshAddress(), ...headers },
          body,
        });
        expect([nameOf(contract), reply.status]).toEqual([nameOf(contract), 400]);
        await reply.arrayBuffer();
      }
    }
    expect(({} as Record<string, unknown>).role).toBeUndefined();
  });

  it('that is refused is not repeated: neither in the answer nor in the log', async () => {
    const bodies = [
      { password: { deep: CANARY } },
      { password: [CANARY] },
      { username: 'x', password: CANARY.repeat(200) },
      { refresh_token: { deep: CANARY } },
      { refreshToken: [CANARY], token: { deep: CANARY }, oldPassword: [CANARY], newPassword: { x: CANARY } },
      `{"password": "${CANARY}"`,
      `{"password": ${CANARY}}`,
      CANARY,
      `{"password": "${CANARY}" trailing}`,
      `password=${CANARY}`,
    ];
    const headers = { authorization: `Bearer ${system.token()}` };
    for (const { path, method } of writes.filter(({ path: each }) =>
      /auth|login|mfa|users|password|token/.test(each),
    )) {
      if (method !== 'POST' || path.includes('{')) continue;
      for (const body of bodies) {
        const { status, text } = await post(path, body, headers);
        expect(status, path).toBeGreaterThanOrEqual(400);
        expect(status, path).toBeLessThan(500);
        expect(text, `${path} ${JSON.stringify(body)}`).not.toContain(CANARY);
      }
    }
    expect(JSON.stringify(system.lines)).not.toContain(CANARY);
    expect(JSON.stringify(await system.api.parts.db('audit_events'))).not.toContain(CANARY);
  });
});

describe('every refusal', () => {
  it('is shorter than what was refused: no request is made many times as long', async () => {
    const many = Object.fromEntries(Array.from({ length: 60_000 }, (_, i) => [`k${i}`, 1]));
    const bodies = [many, { ['k'.repeat(500_000)]: 1 }, Array.from({ length: 60_000 }, () => many.k1)];
    for (const contract of writes.filter(({ auth, method }) => auth === 'public' && method === 'POST')) {
      for (const body of bodies) {
        const { status, text } = await post(contract.path, body);
        expect([400, 413, 422]).toContain(status);
        expect(text.length, contract.path).toBeLessThan(40_000);
      }
    }
  });
});

describe('every answer', () => {
  it('leads nowhere else: no route redirects, whatever the path says', async () => {
    const statuses = contracts.flatMap(({ replies }) => Object.keys(replies).map(Number));
    expect(statuses.filter((status) => status >= 300 && status < 400 && status !== 304)).toEqual([]);
    for (const path of [
      '//evil.example/',
      '/\\evil.example',
      '/%2f%2fevil.example',
      '/docs//evil.example/..',
      '/v1//',
      '/docs?next=//evil.example',
    ]) {
      const reply = await fetch(`${system.url}${path}`, { redirect: 'manual' });
      expect([path, reply.headers.get('location'), reply.status < 300 || reply.status >= 400]).toEqual([
        path,
        null,
        true,
      ]);
      await reply.arrayBuffer();
    }
  });

  it('to somebody who is known is kept by no cache, also where the credential stands in the address', async () => {
    const headers = { authorization: `Bearer ${system.token()}` };
    for (const path of [
      '/v1/auth/me',
      '/v1/users',
      '/v1/tasks',
      '/me',
      '/auth/user',
      '/api/v1/auth/me',
      '/v1/audit',
      '/v1/settings',
    ]) {
      const reply = await fetch(`${system.url}${path}`, { headers });
      expect([path, reply.status, reply.headers.get('cache-control')]).toEqual([path, 200, 'no-store']);
    }
    const byAddress = await fetch(`${system.url}/me?token=${system.token()}`);
    expect([byAddress.status, byAddress.headers.get('cache-control')]).toEqual([200, 'no-store']);
    const refused = await fetch(`${system.url}/v1/auth/me`);
    expect([refused.status, refused.headers.get('cache-control')]).toEqual([401, 'no-store']);
  });
});

describe('a credential in the address', () => {
  it('is no parameter of the route where the family has it everywhere', async () => {
    const gets = contracts.filter(
      ({ family, method, path, query }) =>
        family === 'ananta' && method === 'GET' && query !== undefined && !path.includes('{'),
    );
    expect(gets.length).toBeGreaterThan(1);
    for (const { path } of gets) {
      const reply = await fetch(`${system.url}${path}?token=${system.token()}`);
      expect([path, reply.status]).toEqual([path, 200]);
      await reply.body?.cancel();
      const odd = await fetch(`${system.url}${path}?token=${system.token()}&tokem=x`);
      expect([path, odd.status]).toEqual([path, 422]);
    }
  });

  it('is documented where it is taken, as are the header and the ticket', async () => {
    const { paths, components } = (await (await fetch(`${system.url}/openapi.json`)).json()) as {
      paths: Record<string, Record<string, { security: object[]; parameters: { name: string }[] }>>;
      components: { securitySchemes: Record<string, object> };
    };
    expect(components.securitySchemes).toMatchObject({
      bearer: { type: 'http', scheme: 'bearer' },
      apiKey: { type: 'apiKey', in: 'header', name: 'X-API-Key' },
      ticket: { type: 'apiKey', in: 'query', name: 'ticket' },
      queryToken: { type: 'apiKey', in: 'query', name: 'token' },
    });
    const schemesOf = (path: string, method: string) =>
      paths[path]?.[method]?.security.flatMap((each) => Object.keys(each));
    expect(schemesOf('/v1/tasks', 'get')).toEqual(['bearer', 'apiKey']);
    expect(schemesOf('/v1/events', 'get')).toEqual(['bearer', 'apiKey', 'ticket', 'queryToken']);
    expect(schemesOf('/me', 'get')).toEqual(['bearer', 'apiKey', 'queryToken']);
    expect(schemesOf('/login', 'post')).toEqual([]);
  });
});

describe('Idempotency-Key', () => {
  it('is documented for the routes that make use of it, and for no other', () => {
    const uses = routes.filter(({ handle }) => /idempotencyKey|requestKeyOf/.test(handle.toString()));
    const declared = routes.filter(({ contract }) => contract.takesIdempotencyKey);
    expect(uses.length).toBeGreaterThan(10);
    const missing = uses.filter((route) => !declared.includes(route)).map(({ contract }) => nameOf(contract));
    expect(missing).toEqual([]);
    expect(declared.every(({ contract }) => contract.method === 'POST')).toBe(true);
    const others = ['/v1/auth/login', '/v1/auth/tickets', '/v1/auth/password', '/login', '/auth/logout'];
    expect(declared.filter(({ contract }) => others.includes(contract.path))).toEqual([]);
  });
});

describe('refresh tokens that were made up', () => {
  const madeUp = (i: number) => `str_${String(i).padStart(43, 'x')}`;

  it('count for the address like wrong passwords: 429, then a ban; real ones go on until the ban', async () => {
    const address = freshAddress();
    const headers = { 'x-forwarded-for': address };
    const { refreshToken } = await system.call<{ refreshToken: string }>('POST', '/v1/auth/login', {
      username: 'admin',
      password: 'Correct-Horse-7',
    });
    const ways = [
      (token: string) => post('/v1/auth/refresh', { refreshToken: token }, headers),
      (token: string) => post('/refresh-token', { refresh_token: token }, headers),
      (token: string) => post('/auth/refresh', { refresh_token: token }, headers),
      (token: string) => post('/api/v1/auth/refresh', { refresh_token: token }, headers),
    ];
    const statuses: number[] = [];
    for (let i = 0; i < addressLimits.perMinute + 2; i++) {
      const reply = await ways[i % ways.length]?.(i === 0 ? 'no token at all' : madeUp(i));
      statuses.push(reply?.status ?? 0);
      if (reply?.status === 429) expect(Number(reply.headers.get('retry-after'))).toBeGreaterThan(0);
    }
    expect(statuses).toEqual([...Array.from({ length: addressLimits.perMinute }, () => 401), 429, 429]);
    // Logins from there wait as well; who holds a session is not shut out by a neighbour.
    expect((await post('/v1/auth/login', { username: 'x', password: 'y' }, headers)).status).toBe(429);
    expect((await ways[0]?.(refreshToken))?.status).toBe(200);

    const { db } = system.api.parts;
    await db('address_failures')
      .where({ network: address })
      .update({ hour_failures: addressLimits.perHour - 1 });
    expect((await ways[1]?.(madeUp(90)))?.status).toBe(429);
    expect(await db('banned_addresses').where({ network: address })).toHaveLength(1);
    expect((await ways[0]?.(refreshToken))?.status).toBe(429);
    expect(await db('audit_events').where({ action: 'address.banned', target_id: address })).toHaveLength(1);
    expect(await db('audit_events').where({ action: 'auth.refresh', address })).not.toEqual([]);
  });

  it('ones that have expired or ended do not', async () => {
    const headers = { 'x-forwarded-for': freshAddress() };
    const opened = await system.call<{ refreshToken: string; accessToken: string }>(
      'POST',
      '/v1/auth/login',
      {
        username: 'admin',
        password: 'Correct-Horse-7',
      },
    );
    await system.call('POST', '/v1/auth/logout', undefined, { token: opened.accessToken });
    for (let i = 0; i < addressLimits.perMinute + 2; i++) {
      expect((await post('/v1/auth/refresh', { refreshToken: opened.refreshToken }, headers)).status).toBe(
        401,
      );
    }
  });
});

describe('reports of browsers', () => {
  const reports = () => system.lines.filter(({ event }) => event === 'csp_violation');

  it('are taken as the header asks for them, logged in bounds, and hold no query', async () => {
    const policy = (await fetch(`${system.url}/docs`)).headers.get('content-security-policy') ?? '';
    expect(policy).toContain('report-uri /api/system/csp-report');
    const body = {
      'csp-report': {
        'document-uri': `https://hub.example/ui?token=${CANARY}#${CANARY}`,
        'effective-directive': 'script-src-elem\r\nevent: forged',
        'blocked-uri': `https://evil.example/${'x'.repeat(5_000)}`,
        'script-sample': CANARY,
        'line-number': 4,
      },
    };
    const type = { 'content-type': 'application/csp-report' };
    expect((await post('/api/system/csp-report', body, type)).status).toBe(204);
    const [line] = reports();
    expect(line).toMatchObject({ level: 'warn', page: 'https://hub.example/ui' });
    expect(JSON.stringify(line).length).toBeLessThan(1_000);
    const modern = [
      {
        type: 'csp-violation',
        body: { documentURL: 'https://hub.example/ui', effectiveDirective: 'img-src' },
      },
    ];
    const reporting = { 'content-type': 'application/reports+json' };
    expect((await post('/api/system/csp-report', modern, reporting)).status).toBe(204);
    expect(reports().at(-1)).toMatchObject({ directive: 'img-src', blocked: null });
    for (const odd of [{}, { 'csp-report': 1 }, [1], Array.from({ length: 11 }, () => modern[0])]) {
      expect((await post('/api/system/csp-report', odd, type)).status).toBe(422);
    }
    expect((await post('/api/system/csp-report', body, { 'content-type': 'text/plain' })).status).toBe(415);
    expect(JSON.stringify(system.lines)).not.toContain(CANARY);
  });

  it('fill no log', async () => {
    for (let i = 0; i < 80; i++) {
      await post('/api/system/csp-report', { 'csp-report': { 'blocked-uri': `x${i}` } });
    }
    expect(reports().length).toBeLessThanOrEqual(60);
  });
});

it('a session of an administrator does not make somebody the owner of the account', async () => {
  const id = await addUser('borrowed', 'admin');
  const { accessToken: token } = await system.call<{ accessToken: string }>('POST', '/v1/auth/login', {
    username: 'borrowed',
    password: userPassword,
  });
  const takeOver: [string, object][] = [
    [`/v1/users/${id}/reset-password`, {}],
    [`/v1/users/${id}/reset-password`, { newPassword: 'Thief-Horse-1' }],
    ['/users/borrowed/reset-password', { new_password: 'Thief-Horse-1' }],
    ['/api/auth/users/BORROWED/reset-password', { new_password: 'Thief-Horse-1' }],
  ];
  for (const [path, body] of takeOver) {
    expect([path, (await system.request('POST', path, body, { token })).status]).toEqual([path, 409]);
  }
  expect((await system.request('DELETE', `/v1/users/${id}/mfa`, undefined, { token })).status).toBe(409);
  const entered = await system.request('POST', '/v1/auth/login', {
    username: 'borrowed',
    password: userPassword,
  });
  expect(entered.status).toBe(200);
});

describe('who exists', () => {
  it('is told neither by status nor by headers nor by body', async () => {
    await addUser('somebody', 'admin');
    const ask = async (path: string, field: string, name: string) => {
      const reply = await post(path, { [field]: name, password: 'wrong' }, { 'x-request-id': 'same' });
      const headers = [...reply.headers].filter(([key]) => key !== 'date');
      return { status: reply.status, text: reply.text.replace(/"timestamp":"[^"]+"/, ''), headers };
    };
    for (const [path, field] of [
      ['/v1/auth/login', 'username'],
      ['/login', 'username'],
      ['/auth/login', 'username'],
      ['/api/v1/auth/login', 'username'],
      ['/api/v1/auth/login', 'email'],
    ] as const) {
      // One failure of five each: nothing is locked.
      if (field === 'email') await system.api.parts.db('login_subjects').delete();
      expect(await ask(path, field, 'somebody')).toEqual(await ask(path, field, 'nobody-at-all'));
    }
  });
});

describe('a name with many spellings', () => {
  it('is registered once by twenty who send its twins at once, in two dialects', async () => {
    const local = ['twin', 'TWIN', 'ｔｗｉｎ', 'Twin', 'tWin'];
    const replies = await Promise.all(
      Array.from({ length: 20 }, (_, i) => {
        const username = local[i % local.length] ?? '';
        return i % 2 === 0
          ? post('/v1/auth/register', { username, password: userPassword })
          : post('/v1/auth/register', { username, email: `${i}@example.org`, password: userPassword });
      }),
    );
    expect(replies.filter(({ status }) => status === 201)).toHaveLength(1);
    expect(replies.every(({ status }) => status === 201 || status === 409)).toBe(true);
    expect(await system.api.parts.db('users').where({ canonical_name: 'twin' })).toHaveLength(1);
  });

  it('is not made to look like another by scripts that look alike, or by what cannot be seen', async () => {
    for (const username of [
      'аdmin',
      'adm\u0131n\u200b',
      'admin\u202e',
      'ad\u00admin',
      'admin\u0000',
      'ADMIN',
      'admin ',
      '\ufeffadmin',
    ]) {
      expect([400, 409, 422]).toContain(
        (await post('/v1/auth/register', { username, password: userPassword })).status,
      );
    }
    const found = await system.api.parts.db('users').whereRaw("canonical_name like 'adm%'");
    expect(found).toHaveLength(1);
  });
});

describe('requests that end in two places', () => {
  /** Raw lines; the status of each answer that came back. */
  const raw = (head: string, body: string): Promise<string> =>
    new Promise((resolve) => {
      const { hostname, port } = new URL(system.url);
      const request = httpRequest({ hostname, port, agent: false });
      request.on('error', () => undefined);
      request.once('socket', (socket) => {
        let text = '';
        socket.once('connect', () => socket.write(`${head}\r\n\r\n${body}`));
        socket.on('data', (bytes) => {
          text += bytes;
        });
        socket.once('close', () => resolve(text));
        socket.setTimeout(700, () => socket.destroy());
      });
    });
  const smuggled = 'GET /v1/auth/me HTTP/1.1\r\nHost: x\r\nX-Smuggled: 1\r\n\r\n';

  it.each([
    ['a length and chunks', 'Content-Length: 4\r\nTransfer-Encoding: chunked'],
    ['two lengths', `Content-Length: 2\r\nContent-Length: ${smuggled.length}`],
    ['a length with a sign', 'Content-Length: +5'],
    ['a length in a list', 'Content-Length: 2, 2'],
    ['chunks in other words', 'Transfer-Encoding: xchunked'],
    ['chunks twice', 'Transfer-Encoding: chunked, chunked'],
    ['a space before the colon', 'Content-Length : 2'],
    ['a folded line', 'Content-Length:\r\n 2'],
    ['a bare line feed', 'Content-Length: 2\nTransfer-Encoding: chunked'],
  ])('%s', async (_name, lines) => {
    const head = `POST /login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n${lines}`;
    const text = await raw(head, `0\r\n\r\n${smuggled}`);
    expect(text).toMatch(/^HTTP\/1\.1 400 /);
    expect(text.match(/HTTP\/1\.1 /g)).toHaveLength(1);
  });
});

describe('steelthread user reset-password', () => {
  const run = (args: string[], env: Record<string, string> = {}) =>
    spawnSync(
      process.execPath,
      [join(import.meta.dirname, '..', '..', 'bin/steelthread.js'), 'user', 'reset-password', ...args],
      {
        encoding: 'utf8',
        env: {
          PATH: process.env.PATH ?? '',
          DATABASE_URL: system.env.DATABASE_URL ?? '',
          STEELTHREAD_HOME: system.env.STEELTHREAD_HOME ?? '',
          ...env,
        },
      },
    );

  it('lets an administrator in who is locked out, without the second factor they lost', async () => {
    const id = await addUser('stranded', 'admin');
    const login = (password: string) =>
      system.request<{ accessToken: string }>('POST', '/v1/auth/login', { username: 'stranded', password });
    const before = (await login(userPassword)).body.accessToken;
    const asOwner = { token: before };
    const { secret } = await system.call<{ secret: string }>(
      'POST',
      '/v1/auth/mfa/setup',
      undefined,
      asOwner,
    );
    await system.call('POST', '/v1/auth/mfa/verify', { token: totpToken(secret) }, asOwner);
    const { token } = await system.call<{ token: string }>(
      'POST',
      '/v1/auth/tokens',
      { name: 'x', scopes: ['read'] },
      asOwner,
    );
    const address = { 'x-forwarded-for': freshAddress() };
    for (let i = 0; i < 5; i++)
      await post('/v1/auth/login', { username: 'stranded', password: `no-${i}` }, address);
    expect((await login(userPassword)).status).toBe(403);

    const result = run([' STRANDED ', '--remove-mfa', '--revoke-tokens']);
    expect(result.status, result.stderr).toBe(0);
    expect(result.stderr).toContain('stranded (admin) has a new password');
    const password = result.stdout.trim();
    expect(result.stdout).toBe(`${password}\n`);
    expect(password.length).toBeGreaterThanOrEqual(16);
    expect(result.stderr).not.toContain(password);

    expect((await system.request('GET', '/v1/auth/me', undefined, asOwner)).status).toBe(401);
    expect((await system.request('GET', '/v1/auth/me', undefined, { token })).status).toBe(401);
    expect((await login(userPassword)).status).toBe(401);
    const entered = await login(password);
    expect(entered.status).toBe(200);
    const asNew = { token: entered.body.accessToken };
    expect((await system.request('GET', '/v1/users', undefined, asNew)).status).toBe(403);
    await system.call(
      'POST',
      '/v1/auth/password',
      { oldPassword: password, newPassword: 'New-Horse-77' },
      asNew,
    );
    expect((await system.request('GET', '/v1/users', undefined, asNew)).status).toBe(200);

    const rows = await system.api.parts
      .db('audit_events')
      .where({ principal_id: 'command-line', target_id: id });
    expect(rows.map(({ action }) => action).sort()).toEqual([
      'account.unlocked',
      'mfa.reset',
      'user.reset_password',
    ]);
    expect(JSON.stringify(await system.api.parts.db('audit_events'))).not.toContain(password);
  });

  it('says so when nobody has the name, or the database is away', () => {
    expect(run(['nobody-at-all'])).toMatchObject({ status: 1, stdout: '' });
    const away = run(['admin'], { DATABASE_URL: 'postgres://127.0.0.1:1/x' });
    expect(away).toMatchObject({ status: 1, stdout: '' });
    expect(away.stderr).toContain('cannot be used');
  });
});
