/** Personal API tokens: some of their owner's rights, as these are now, until revoked. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import WebSocket from 'ws';
import { createRoutes } from '../../api/routes/index.ts';
import type { ApiTokenView } from '../../contracts/api-tokens.ts';
import { pathParameters } from '../../contracts/route.ts';
import { type ApiTokenScope, apiTokenScopes } from '../../contracts/scopes.ts';
import { scopesAllow } from '../../domain/scopes.ts';
import { openSse } from '../support/event-streams.ts';
import { type System, startSystem } from '../support/system.ts';
import { deskOf } from '../support/tasks.ts';

/** Promise P8, and what a busy machine may add. */
const REVOCATION_DEADLINE_MS = 5_000 + 1_500;
const NOBODYS_ID = '01890000-0000-7000-8000-000000000000';

let system: System;
beforeAll(async () => {
  system = await startSystem({ worker: false });
});
afterAll(() => system.close());

type Created = ApiTokenView & { token: string };
const make = (scopes: readonly ApiTokenScope[], as?: string, name = 'ci') =>
  system.call<Created>('POST', '/v1/auth/tokens', { name, scopes }, as === undefined ? {} : { token: as });

/** The contracts of the real routes. Making routes touches no dependency, so none is needed. */
const guardedRoutes = () =>
  createRoutes({} as never).flatMap(({ contract }) => (contract.auth === 'public' ? [] : [contract]));

const status = async (token: string, method: string, path: string, body?: unknown): Promise<number> =>
  (await system.request(method, path, body, { token })).status;

describe('making and ending', () => {
  it('shows the token once, and never again', async () => {
    const reply = await system.request<Created>('POST', '/v1/auth/tokens', {
      name: '  build server ',
      scopes: ['read', 'tasks', 'read'],
      expiresInDays: 7,
    });
    expect([reply.status, reply.headers.get('Cache-Control')]).toEqual([201, 'no-store']);
    const { token, ...shown } = reply.body;
    expect(token).toMatch(/^stp_[\w-]{43}$/);
    expect(shown).toMatchObject({
      name: 'build server',
      scopes: ['read', 'tasks'],
      tokenPrefix: token.slice(0, 10),
      lastUsedAt: null,
    });
    const days = (Date.parse(shown.expiresAt) - Date.now()) / 86_400_000;
    expect(days).toBeCloseTo(7, 2);
    const list = await system.call<{ items: ApiTokenView[] }>('GET', '/v1/auth/tokens');
    expect(list.items).toContainEqual(shown);
    expect(JSON.stringify(list)).not.toContain(token);
    const rows = await deskOf(system).sql(
      `select *, encode(token_hash, 'escape') as escaped from api_tokens`,
    );
    expect(JSON.stringify(rows)).not.toContain(token);
  });

  it('takes no unknown scope, no field of another, no life without end', async () => {
    for (const body of [
      { name: 'x', scopes: [] },
      { name: 'x', scopes: ['everything'] },
      { name: 'x', scopes: ['read'], expiresInDays: 366 },
      { name: 'x', scopes: ['read'], expiresInDays: 0 },
      { name: 'x', scopes: ['read'], userId: NOBODYS_ID },
      { name: 'x', scopes: ['read'], token: 'stp_mine' },
      { name: 'x', scopes: ['read'], role: 'admin' },
      { name: ' ', scopes: ['read'] },
    ]) {
      const reply = await system.request('POST', '/v1/auth/tokens', body);
      expect([reply.status, JSON.stringify(body)]).toEqual([422, JSON.stringify(body)]);
    }
  });

  it('stops working at once when it is revoked, and is listed no more', async () => {
    const { id, token } = await make(['read']);
    expect(await status(token, 'GET', '/v1/tasks')).toBe(200);
    expect((await system.request('DELETE', `/v1/auth/tokens/${id}`)).status).toBe(204);
    expect(await status(token, 'GET', '/v1/tasks')).toBe(401);
    expect((await system.request('DELETE', `/v1/auth/tokens/${id}`)).status).toBe(404);
    const { items } = await system.call<{ items: ApiTokenView[] }>('GET', '/v1/auth/tokens');
    expect(items.map((item) => item.id)).not.toContain(id);
  });

  it('is each person’s own, an administrator sees and ends none of others', async () => {
    const other = await deskOf(system).addUser('operator', 'keeper');
    const { id, token } = await make(['read'], other);
    const { items } = await system.call<{ items: ApiTokenView[] }>('GET', '/v1/auth/tokens');
    expect(items.map((item) => item.id)).not.toContain(id);
    expect((await system.request('DELETE', `/v1/auth/tokens/${id}`)).status).toBe(404);
    expect(await status(token, 'GET', '/v1/tasks')).toBe(200);
  });

  it('pages by cursor', async () => {
    const as = await deskOf(system).addUser('user', 'collector');
    const names = ['one', 'two', 'three'];
    for (const name of names) await make(['read'], as, name);
    const seen: string[] = [];
    let cursor: string | null = '';
    while (cursor !== null) {
      const query = `limit=2${cursor === '' ? '' : `&cursor=${encodeURIComponent(cursor)}`}`;
      const page: { items: ApiTokenView[]; nextCursor: string | null } = await system.call(
        'GET',
        `/v1/auth/tokens?${query}`,
        undefined,
        { token: as },
      );
      seen.push(...page.items.map((item) => item.name));
      cursor = page.nextCursor;
    }
    expect(seen).toEqual(names.reverse());
    expect(await status(as, 'GET', '/v1/auth/tokens?cursor=nonsense')).toBe(422);
  });

  it('is bounded for each person, also when asked for at once', async () => {
    const as = await deskOf(system).addUser('user', 'hoarder');
    await deskOf(system).sql(
      `insert into api_tokens (id, user_id, name, token_hash, token_prefix, scopes, expires_at)
       select gen_random_uuid(), u.id, 'x', decode(md5(n::text), 'hex'), 'stp_x', '{read}', now() + interval '1 day'
       from users u, generate_series(1, 48) n where u.username = 'hoarder' returning id`.replaceAll(
        'n::text',
        'cast(n as text)',
      ),
    );
    const body = { name: 'one more', scopes: ['read'] };
    const replies = await Promise.all(
      Array.from({ length: 6 }, () => system.request('POST', '/v1/auth/tokens', body, { token: as })),
    );
    expect(replies.map((reply) => reply.status).sort()).toEqual([201, 201, 409, 409, 409, 409]);
  });

  it('is in the audit trail, and every act names the token', async () => {
    const { id, token } = await make(['tasks'], undefined, 'audited');
    await system.call('POST', '/v1/tasks', { goal: 'x', mode: 'manual' }, { token });
    await system.call('DELETE', `/v1/auth/tokens/${id}`);
    const rows = await deskOf(system).sql<{ action: string; details: Record<string, unknown> }>(
      `select action, details from audit_events
       where target_id = :id or details ->> 'apiTokenId' = :id order by id`,
      { id },
    );
    expect(rows.map((row) => row.action)).toEqual(['api_token.create', 'task.create', 'api_token.revoke']);
    expect(rows[0]?.details).toEqual({ name: 'audited', scopes: ['tasks'], expiresInDays: 90 });
    expect(JSON.stringify([rows, system.lines])).not.toContain(token);
  });
});

describe('what it may', () => {
  const acts: [ApiTokenScope, string, string, unknown?][] = [
    ['read', 'GET', '/v1/tasks'],
    ['read', 'GET', '/v1/agents'],
    ['tasks', 'POST', '/v1/tasks', { goal: 'x', mode: 'manual' }],
    ['decide', 'POST', `/v1/tasks/${NOBODYS_ID}/decide`, {}],
    ['commands', 'POST', '/v1/commands', {}],
    ['agents', 'POST', '/v1/agents/enrolments', {}],
    ['admin', 'DELETE', `/v1/tasks/${NOBODYS_ID}`],
  ];

  it('is what its scopes name, and nothing else', async () => {
    for (const scope of apiTokenScopes) {
      const { token } = await make([scope]);
      expect(await status(token, 'GET', '/v1/auth/me')).toBe(200);
      for (const [needed, method, path, body] of acts) {
        const got = await status(token, method, path, body);
        const mayRead =
          method === 'GET' &&
          ((path === '/v1/tasks' && scope !== 'agents') || (path === '/v1/agents' && scope === 'agents'));
        const label = `${scope}: ${method} ${path} → ${got}`;
        if (needed === scope || mayRead) expect([401, 403], label).not.toContain(got);
        else expect(got, label).toBe(403);
      }
    }
  });

  it.each(apiTokenScopes)(
    'on every route: `%s` lets in where its rights say so, nowhere else',
    async (scope) => {
      const { token } = await make([scope]);
      const wrong: string[] = [];
      for (const contract of guardedRoutes()) {
        const path = pathParameters(contract.path).reduce<string>(
          (text, name) => text.replace(`{${name}}`, name === 'stream' ? 'stdout' : NOBODYS_ID),
          contract.path,
        );
        const abort = new AbortController();
        const { status: got } = await fetch(`${system.url}${path}`, {
          method: contract.method,
          signal: abort.signal,
          headers: {
            authorization: `Bearer ${token}`,
            ...(contract.body ? { 'content-type': 'application/json' } : {}),
          },
          // A family creates the task that it cannot change: nothing that could be meant.
          ...(contract.body ? { body: contract.method === 'PATCH' ? '{"status":7}' : '{}' } : {}),
        });
        abort.abort();
        const isLetIn = contract.auth !== 'agent' && scopesAllow([scope], contract.verb, contract.resource);
        if (isLetIn ? [401, 403, 500].includes(got) : got !== 403) {
          wrong.push(`${contract.method} ${contract.path} (${contract.verb} ${contract.resource}) → ${got}`);
        }
      }
      expect(wrong).toEqual([]);
    },
  );

  it('approves nothing in advance without `decide`', async () => {
    const body = { goal: 'x', mode: 'auto', preApproved: ['id'] };
    const [without, withIt] = [await make(['tasks']), await make(['tasks', 'decide'])];
    expect(await status(without.token, 'POST', '/v1/tasks', body)).toBe(403);
    expect(await status(withIt.token, 'POST', '/v1/tasks', body)).toBe(201);
  });

  it('is never more than the role of its owner', async () => {
    const viewer = await deskOf(system).addUser('viewer', 'token-viewer');
    const { token } = await make(apiTokenScopes, viewer);
    expect(await status(token, 'GET', '/v1/tasks')).toBe(200);
    for (const [needed, method, path, body] of acts) {
      if (needed !== 'read') expect(await status(token, method, path, body), path).toBe(403);
    }
  });

  it('follows the role at each use', async () => {
    const desk = deskOf(system);
    const owner = await desk.addUser('operator', 'rising');
    const { token } = await make(['agents'], owner);
    expect(await status(token, 'POST', '/v1/agents/enrolments', {})).toBe(201);
    await desk.sql(`update users set role = 'viewer' where username = 'rising' returning id`);
    expect(await status(token, 'POST', '/v1/agents/enrolments', {})).toBe(403);
  });

  it('is nothing about tokens, tickets, sessions, passwords, second factors or accounts', async () => {
    const { id, token } = await make(apiTokenScopes);
    const document = (await (await fetch(`${system.url}/openapi.json`)).json()) as {
      paths: Record<string, Record<string, unknown>>;
    };
    const refused: string[] = [];
    const forms: [string, string][] = Object.entries(document.paths).flatMap(([path, item]) =>
      Object.keys(item).map((method) => [method.toUpperCase(), path] as [string, string]),
    );
    const guarded = forms.filter(
      ([method, path]) =>
        /^\/v1\/auth\/(tokens|tickets|sessions|password|mfa)/.test(path) ||
        (path === '/v1/auth/logout' && method === 'POST') ||
        (path.startsWith('/v1/users') && method !== 'GET'),
    );
    expect(guarded.length).toBeGreaterThan(4);
    for (const [method, path] of guarded) {
      const real = path.replaceAll(/\{\w+\}/g, id);
      const got = await status(token, method, real, method === 'GET' ? undefined : {});
      if (got !== 403) refused.push(`${method} ${path} → ${got}`);
    }
    expect(refused).toEqual([]);
    expect((await system.request('DELETE', `/v1/auth/tokens/${id}`)).status).toBe(204);
  });
});

describe('when it ends', () => {
  it('does with its time, with its owner, and with a password that must change first', async () => {
    const desk = deskOf(system);
    const owner = await desk.addUser('user', 'mortal');
    const [short, long] = [await make(['read'], owner), await make(['read'], owner)];
    await desk.sql(`update api_tokens set expires_at = now() where id = cast(:id as uuid) returning id`, {
      id: short.id,
    });
    expect(await status(short.token, 'GET', '/v1/tasks')).toBe(401);
    expect(await status(long.token, 'GET', '/v1/tasks')).toBe(200);
    await desk.sql(`update users set must_change_password = true where username = 'mortal' returning id`);
    expect(await status(long.token, 'GET', '/v1/tasks')).toBe(403);
    await desk.sql(
      `update users set must_change_password = false, is_active = false where username = 'mortal' returning id`,
    );
    expect(await status(long.token, 'GET', '/v1/tasks')).toBe(401);
    await desk.sql(`delete from users where username = 'mortal' returning id`);
    expect(await status(long.token, 'GET', '/v1/tasks')).toBe(401);
  });

  it('ends its streams and sockets within five seconds: revoked, or its right gone', async () => {
    const desk = deskOf(system);
    const owner = await desk.addUser('operator', 'streaming');
    const { id, token } = await make(['read'], owner);
    const stream = await openSse(`${system.url}/v1/events`, { Authorization: `Bearer ${token}` });
    expect(stream.response.status).toBe(200);
    await stream.until((events) => events.length > 0);
    const closed = new Promise<number>((resolve) => {
      const socket = new WebSocket(`${system.url.replace('http', 'ws')}/v1/events`, {
        headers: { 'x-api-key': token },
      });
      socket.once('message', () => {
        void system.call('DELETE', `/v1/auth/tokens/${id}`, undefined, { token: owner });
      });
      socket.on('close', resolve);
    });
    const since = performance.now();
    expect(await closed).toBe(1008);
    await stream.ended;
    expect(performance.now() - since).toBeLessThan(REVOCATION_DEADLINE_MS);
  });

  it('notes its last use', async () => {
    const { id, token } = await make(['read']);
    await status(token, 'GET', '/v1/tasks');
    const { items } = await system.call<{ items: ApiTokenView[] }>('GET', '/v1/auth/tokens');
    expect(items.find((item) => item.id === id)?.lastUsedAt).not.toBeNull();
  });
});

describe('a guess', () => {
  it('is refused: unknown, of another kind, in another case', async () => {
    const { token } = await make(['read']);
    for (const guess of [
      'stp_unknown',
      token.toUpperCase(),
      `${token}x`,
      token.slice(0, -1),
      token.replace('stp_', 'sta_'),
      token.replace('stp_', 'str_'),
      `stp_${'x'.repeat(5_000)}`,
    ]) {
      expect(await status(guess, 'GET', '/v1/tasks')).toBe(401);
    }
    const refresh = { refreshToken: token };
    expect((await system.request('POST', '/v1/auth/refresh', refresh)).status).toBe(401);
  });
});
