/** What was allowed a moment ago: acts that are under way while the right, the session or the account is taken away. */
import { createHash } from 'node:crypto';
import http from 'node:http';
import jwt from 'jsonwebtoken';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import WebSocket from 'ws';
import { MAX_UNCHECKED_MS } from '../../api/mount.ts';
import { insertAuditEvents } from '../../db/audit-events.ts';
import { AGENT_JWT_LEEWAY_S } from '../../domain/identity/access-tokens.ts';
import { auditEntryOf } from '../support/audit.ts';
import { openSse } from '../support/event-streams.ts';
import { addAccount, totpToken, userPassword } from '../support/second-factor.ts';
import { type System, startSystem } from '../support/system.ts';
import { deskOf } from '../support/tasks.ts';

const AGENT_TOKEN = 'the-shared-agent-token-of-this-test';
/** The promise, and what a busy machine may add. */
const DEADLINE_MS = 5_000 + 1_500;

let system: System;
beforeAll(async () => {
  system = await startSystem({ worker: false, env: { AGENT_TOKEN, TRUST_PROXY_HOPS: '1' } });
});
afterAll(() => system.close());

interface Tokens {
  accessToken: string;
  refreshToken: string;
  user: { id: string };
}

const logIn = (username: string, password = userPassword) =>
  system.request<Tokens>('POST', '/v1/auth/login', { username, password });

async function person(username: string, role: 'user' | 'operator' | 'admin' = 'user'): Promise<Tokens> {
  const { db } = system.api.parts;
  const { createPasswordHasher } = await import('../../domain/identity/passwords.ts');
  const passwords = createPasswordHasher({ cost: 4 });
  await addAccount({ db, deps: { passwords } } as never, username, { role });
  return (await logIn(username)).body;
}

const statusOfMe = async (token: string): Promise<number> =>
  (await system.request('GET', '/v1/auth/me', undefined, { token })).status;

/** A request whose body is held back until `meanwhile` is done. */
async function postSlowly(
  path: string,
  token: string,
  body: object,
  meanwhile: () => Promise<unknown>,
): Promise<number> {
  const bytes = Buffer.from(JSON.stringify(body));
  const request = http.request(`${system.url}${path}`, {
    method: 'POST',
    agent: false,
    headers: {
      authorization: `Bearer ${token}`,
      'content-type': 'application/json',
      'content-length': bytes.length,
      expect: '100-continue',
    },
  });
  const answered = new Promise<number>((resolve, reject) => {
    request.once('response', (response) => resolve(response.resume().statusCode ?? 0));
    request.once('error', reject);
  });
  // The server has read the headers, and knows who asks.
  await new Promise((resolve) => {
    request.once('continue', resolve);
    request.flushHeaders();
  });
  request.write(bytes.subarray(0, 3));
  const since = performance.now();
  await meanwhile();
  await system.until(
    async () => performance.now() - since,
    (ms) => ms > MAX_UNCHECKED_MS + 100,
  );
  request.end(bytes.subarray(3));
  return answered;
}

describe('a body that comes late', () => {
  const newUser = (username: string) => ({ username, password: userPassword, role: 'admin' });

  it('is obeyed while its sender may do it', async () => {
    expect(
      await postSlowly('/v1/users', system.token(), newUser('slow-but-right'), async () => undefined),
    ).toBe(201);
  });

  it.each([
    ['demoted', (id: string) => system.call('PUT', `/v1/users/${id}/role`, { role: 'viewer' })],
    ['disabled', (id: string) => system.call('PATCH', `/v1/users/${id}`, { isActive: false })],
    ['logged out by an administrator', (id: string) => system.call('DELETE', `/v1/users/${id}/sessions`)],
  ])('does nothing more for somebody who was %s meanwhile', async (what, act) => {
    const name = `slow-${what}`.replaceAll(' ', '-');
    const { accessToken, user } = await person(name, 'admin');
    const status = await postSlowly('/v1/users', accessToken, newUser(`back-door-${name}`), () =>
      act(user.id),
    );
    expect(status).toBe(401);
    const { db } = system.api.parts;
    expect(await db('users').where({ canonical_name: `back-door-${name}` })).toEqual([]);
    expect(
      await db('audit_events').where({ action: 'credential.refused', target_id: 'POST /v1/users' }),
    ).not.toEqual([]);
  });

  it('nor for an API token that was revoked, or whose owner holds less by now', async () => {
    const operator = await person('slow-program', 'operator');
    const asOwner = { token: operator.accessToken };
    const make = () =>
      system.call<{ id: string; token: string }>(
        'POST',
        '/v1/auth/tokens',
        { name: 'x', scopes: ['agents'] },
        asOwner,
      );
    const one = await make();
    const revoke = () => system.call('DELETE', `/v1/auth/tokens/${one.id}`, undefined, asOwner);
    expect(await postSlowly('/v1/agents/enrolments', one.token, { label: 'x' }, revoke)).toBe(401);
    const two = await make();
    const demote = () => system.call('PUT', `/v1/users/${operator.user.id}/role`, { role: 'viewer' });
    expect(await postSlowly('/v1/agents/enrolments', two.token, { label: 'x' }, demote)).toBe(403);
    expect(await system.api.parts.db('enrolment_tokens').where({ label: 'x' })).toEqual([]);
  });
});

describe('at the same time', () => {
  it('twenty refreshes and a logout leave no token that works', async () => {
    const { accessToken, refreshToken } = await person('refreshing');
    const refresh = (token: string) =>
      system.request<Tokens>('POST', '/v1/auth/refresh', { refreshToken: token });
    const [, ...replies] = await Promise.all([
      system.call('POST', '/v1/auth/logout', undefined, { token: accessToken }),
      ...Array.from({ length: 20 }, () => refresh(refreshToken)),
    ]);
    for (const { status, body } of replies) {
      expect([200, 401]).toContain(status);
      if (status !== 200) continue;
      expect(await statusOfMe(body.accessToken)).toBe(401);
      expect((await refresh(body.refreshToken)).status).toBe(401);
    }
    expect(await statusOfMe(accessToken)).toBe(401);
  });

  it.each([
    ['a reset of the password', (id: string) => system.call('POST', `/v1/users/${id}/reset-password`, {})],
    ['disabling', (id: string) => system.call('PATCH', `/v1/users/${id}`, { isActive: false })],
  ])('logins with the old password and %s: nobody stays in', async (what, act) => {
    const { user } = await person(`entering-${what.replaceAll(' ', '-')}`);
    const { username } = await system.call<{ username: string }>('GET', `/v1/users/${user.id}`);
    const early = Array.from({ length: 6 }, () => logIn(username));
    await act(user.id);
    await Promise.all(early);
    const rows = await system.api.parts.db('sessions').where({ user_id: user.id }).whereNull('revoked_at');
    expect(rows).toEqual([]);
  });

  it('two set-ups of a second factor and twenty proofs: one is in force, with its ten codes', async () => {
    const { accessToken, user } = await person('enrolling');
    const asOwner = { token: accessToken };
    const setUp = () => system.call<{ secret: string }>('POST', '/v1/auth/mfa/setup', undefined, asOwner);
    const secrets = (await Promise.all([setUp(), setUp()])).map(({ secret }) => secret);
    const replies = await Promise.all(
      Array.from({ length: 20 }, (_, i) =>
        system.request<{ backupCodes?: string[] }>(
          'POST',
          '/v1/auth/mfa/verify',
          { token: totpToken(secrets[i % 2] ?? '') },
          { ...asOwner, headers: { 'x-forwarded-for': `203.0.113.${i + 1}` } },
        ),
      ),
    );
    const won = replies.filter(({ status }) => status === 200);
    expect(won.length).toBeLessThanOrEqual(1);
    const { db } = system.api.parts;
    expect(await db('mfa_backup_codes').where({ user_id: user.id })).toHaveLength(won.length * 10);
    for (const { status } of replies) expect([200, 401, 403, 409]).toContain(status);
  });

  it('a ticket opens one of twenty streams and sockets', async () => {
    const { ticket } = await system.call<{ ticket: string }>('POST', '/v1/auth/tickets');
    const dial = () =>
      new Promise<boolean>((resolve) => {
        const socket = new WebSocket(`${system.url.replace('http', 'ws')}/v1/events?ticket=${ticket}`);
        socket.once('message', () => {
          resolve(true);
          socket.terminate();
        });
        socket.once('close', () => resolve(false));
        socket.on('error', () => undefined);
      });
    const stream = async () => {
      const sse = await openSse(`${system.url}/v1/events?ticket=${ticket}`, {});
      sse.close();
      return sse.response.status === 200;
    };
    const opened = await Promise.all(Array.from({ length: 20 }, (_, i) => (i % 2 === 0 ? dial() : stream())));
    expect(opened.filter(Boolean)).toHaveLength(1);
  });

  it('API tokens and the disabling of their owner: none works when the account comes back', async () => {
    const { accessToken, user } = await person('minting');
    const make = () =>
      system.request<{ token: string }>(
        'POST',
        '/v1/auth/tokens',
        { name: 'x', scopes: ['read'] },
        { token: accessToken },
      );
    const first = await make();
    const [, ...rest] = await Promise.all([
      system.call('PATCH', `/v1/users/${user.id}`, { isActive: false }),
      ...Array.from({ length: 10 }, make),
    ]);
    await system.call('PATCH', `/v1/users/${user.id}`, { isActive: true });
    for (const { status, body } of [first, ...rest]) {
      if (status === 201) expect(await statusOfMe(body.token)).toBe(401);
      else expect(status).toBe(401);
    }
    expect(
      await system.api.parts.db('api_tokens').where({ user_id: user.id }).whereNull('revoked_at'),
    ).toEqual([]);
  });

  it('an API token is made once for an Idempotency-Key', async () => {
    const { accessToken } = await person('minting-once');
    const headers = { 'idempotency-key': 'one' };
    const replies = await Promise.all(
      Array.from({ length: 5 }, () =>
        system.request(
          'POST',
          '/v1/auth/tokens',
          { name: 'x', scopes: ['read'] },
          { token: accessToken, headers },
        ),
      ),
    );
    expect(replies.map(({ status }) => status).sort()).toEqual([201, 409, 409, 409, 409]);
  });
});

describe('what goes on after it was opened', () => {
  it('a socket and a stream of a JWT of the shared token end with the JWT', async () => {
    const now = Math.floor(Date.now() / 1000);
    // Good for two seconds more, by the leeway that clocks are given.
    const token = jwt.sign({ exp: now - AGENT_JWT_LEEWAY_S + 2 }, AGENT_TOKEN);
    const socket = new WebSocket(`${system.url.replace('http', 'ws')}/v1/events`, {
      headers: { authorization: `Bearer ${token}` },
    });
    const closed = new Promise<number>((resolve) => socket.once('close', resolve));
    await new Promise((resolve) => socket.once('message', resolve));
    const stream = await openSse(`${system.url}/v1/events`, { authorization: `Bearer ${token}` });
    expect(stream.response.status).toBe(200);
    const since = performance.now();
    const [code] = await Promise.all([closed, stream.ended]);
    expect(code).toBe(1008);
    expect(performance.now() - since).toBeLessThan(2_000 + DEADLINE_MS);
    expect((await system.request('GET', '/v1/tasks', undefined, { token })).status).toBe(401);
  });

  it('an export of the audit trail that is read slowly is cut off with the right to it', async () => {
    const { accessToken, user } = await person('slow-reader', 'admin');
    const big = 'x'.repeat(3_000);
    for (let i = 0; i < 6; i++) {
      const rows = Array.from({ length: 1_000 }, (_, at) =>
        auditEntryOf(`bulk-${i}-${at}`, { details: { big } }),
      );
      await insertAuditEvents(system.api.parts.db, rows);
    }
    const request = http.get(`${system.url}/v1/audit/export`, {
      agent: false,
      headers: { authorization: `Bearer ${accessToken}` },
    });
    const response = await new Promise<http.IncomingMessage>((resolve) => request.once('response', resolve));
    expect(response.statusCode).toBe(200);
    // Nothing is read: the server waits with what it has.
    await system.call('PUT', `/v1/users/${user.id}/role`, { role: 'viewer' });
    const since = performance.now();
    await system.until(
      async () => system.lines.some((line) => line.route === '/v1/audit/export' && line.aborted === true),
      Boolean,
      'the end of the export',
      DEADLINE_MS,
    );
    expect(performance.now() - since).toBeLessThan(DEADLINE_MS);
    const hash = createHash('sha256');
    await expect(
      (async () => {
        for await (const chunk of response) hash.update(chunk);
      })(),
    ).rejects.toThrow('aborted');
  });
});

it('an administrator ends the sessions of somebody, who may come back; API tokens stay', async () => {
  const { accessToken, refreshToken, user } = await person('thrown-out', 'operator');
  const asOwner = { token: accessToken };
  const { token } = await system.call<{ token: string }>(
    'POST',
    '/v1/auth/tokens',
    { name: 'x', scopes: ['read'] },
    asOwner,
  );
  await logIn('thrown-out');
  const path = `/v1/users/${user.id}/sessions`;
  for (const role of ['viewer', 'user', 'operator'] as const) {
    const other = await deskOf(system).addUser(role, `no-admin-${role}`);
    expect((await system.request('DELETE', path, undefined, { token: other })).status).toBe(403);
  }
  expect((await system.request('DELETE', path, undefined, asOwner)).status).toBe(403);
  expect(await system.call('DELETE', path)).toEqual({ ended: 2 });
  expect(await system.call('DELETE', path)).toEqual({ ended: 0 });
  expect(await statusOfMe(accessToken)).toBe(401);
  expect((await system.request('POST', '/v1/auth/refresh', { refreshToken })).status).toBe(401);
  expect(await statusOfMe(token)).toBe(200);
  expect((await logIn('thrown-out')).status).toBe(200);
  const nobody = '/v1/users/01890000-0000-7000-8000-000000000000/sessions';
  expect((await system.request('DELETE', nobody)).status).toBe(404);
  const rows = await system.api.parts.db('audit_events').where({ action: 'session.revoke' });
  expect(rows.filter(({ details }) => details.reason === 'revoked_by_admin')).not.toEqual([]);
});

describe('a new password', () => {
  it.each([false, true])('ends the API tokens of the account when asked to (%s)', async (revokeTokens) => {
    const name = `renewed-${revokeTokens}`;
    const { accessToken, user } = await person(name);
    const asOwner = { token: accessToken };
    const make = async () =>
      (
        await system.call<{ token: string }>(
          'POST',
          '/v1/auth/tokens',
          { name: 'program', scopes: ['read'] },
          asOwner,
        )
      ).token;
    const one = await make();
    await system.call(
      'POST',
      '/v1/auth/password',
      { oldPassword: userPassword, newPassword: 'Other-Horse-9', revokeTokens },
      asOwner,
    );
    expect(await statusOfMe(one)).toBe(revokeTokens ? 401 : 200);
    const two = await make();
    await system.call('POST', `/v1/users/${user.id}/reset-password`, {
      newPassword: 'Third-Horse-9',
      revokeTokens,
    });
    const again = (await logIn(name, 'Third-Horse-9')).body.accessToken;
    await system.call(
      'POST',
      '/v1/auth/password',
      { oldPassword: 'Third-Horse-9', newPassword: 'Fourth-Horse-9' },
      { token: again },
    );
    expect(await statusOfMe(two)).toBe(revokeTokens ? 401 : 200);
    const rows = await system.api.parts.db('audit_events').where({ action: 'api_token.revoke' });
    const reasons = rows.filter(({ principal_id: id, details }) => id === user.id && details.reason);
    expect(reasons).toHaveLength(revokeTokens ? 1 : 0);
  });
});
