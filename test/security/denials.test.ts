/** Every refusal leaves a row in the audit trail, none of them a secret, and nobody can flood it. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import WebSocket from 'ws';
import {
  createDenialRecorder,
  DENIAL_WINDOW_MS,
  type Denial,
  MAX_DENIAL_ROWS,
  MAX_STRANGER_ROWS,
} from '../../api/denials.ts';
import { listTasksRoute } from '../../contracts/task-routes.ts';
import { actorOf } from '../support/identity.ts';
import { type System, startSystem } from '../support/system.ts';
import { deskOf } from '../support/tasks.ts';

let system: System;

beforeAll(async () => {
  system = await startSystem({ worker: false });
});
afterAll(() => system.close());

interface Row {
  principal_kind: string;
  principal_id: string;
  principal_name: string;
  address: string | null;
  request_id: string | null;
  action: string;
  target_kind: string;
  target_id: string;
  outcome: string;
  details: Record<string, unknown>;
}

const rowsOf = (where: Partial<Row>): Promise<Row[]> =>
  system.api.parts.db('audit_events').where(where).orderBy('id');

async function requestAs(token: string | null, path = '/v1/tasks', id = ''): Promise<number> {
  const response = await fetch(`${system.url}${path}`, {
    headers: { ...(token === null ? {} : { authorization: `Bearer ${token}` }), 'x-request-id': id },
  });
  await response.arrayBuffer();
  return response.status;
}

describe('requests', () => {
  it('without a credential, and with one that is no good', async () => {
    expect(await requestAs(null, '/v1/tasks', 'without')).toBe(401);
    expect(await requestAs('sta_SECRET-that-is-no-token-0123456789', '/v1/tasks', 'bad')).toBe(401);
    expect(await rowsOf({ request_id: 'without' })).toMatchObject([
      {
        principal_kind: 'anonymous',
        principal_id: 'unknown',
        address: expect.stringMatching(/127\.0\.0\.1$/),
        action: 'credential.refused',
        target_kind: 'route',
        target_id: 'GET /v1/tasks',
        outcome: 'denied',
        details: { code: 'unauthorized' },
      },
    ]);
    const bad = await rowsOf({ request_id: 'bad' });
    expect(bad).toMatchObject([{ action: 'credential.refused', details: { code: 'invalid_token' } }]);
    expect(JSON.stringify(bad)).not.toContain('SECRET');
  });

  it('with a refresh token that is none', async () => {
    const reply = await system.request(
      'POST',
      '/v1/auth/refresh',
      { refreshToken: 'str_SECRET-that-is-no-token' },
      { headers: { 'x-request-id': 'refresh' } },
    );
    expect(reply.status).toBe(401);
    const rows = await rowsOf({ request_id: 'refresh' });
    expect(rows).toMatchObject([
      { action: 'credential.refused', details: { code: 'invalid_refresh_token' }, outcome: 'denied' },
    ]);
    expect(JSON.stringify(rows)).not.toContain('SECRET');
  });

  it('by somebody who may not', async () => {
    const token = await deskOf(system).addUser('viewer', 'curious');
    expect(await requestAs(token, '/v1/audit', 'may-not')).toBe(403);
    expect(await rowsOf({ request_id: 'may-not' })).toMatchObject([
      {
        principal_name: 'curious',
        action: 'access.denied',
        target_id: 'GET /v1/audit',
        details: { verb: 'list', resource: 'audit' },
      },
    ]);
  });

  it('of paths that nobody has are no refusals', async () => {
    expect(await requestAs(null, '/v1/nothing', 'nowhere')).toBe(404);
    expect(await rowsOf({ request_id: 'nowhere' })).toEqual([]);
  });
});

describe('sockets', () => {
  const open = (path: string, headers: Record<string, string> = {}) =>
    new Promise<void>((resolve) => {
      const socket = new WebSocket(`${system.url.replace('http', 'ws')}${path}`, { headers });
      socket.once('close', () => resolve());
      socket.on('error', () => resolve());
    });

  it.each([
    ['/v1/events', 'a-client', {}],
    ['/v1/events?token=sts_SECRET-of-the-query-0123456789', 'a-bad-token', {}],
    ['/v1/agent', 'an-agent', { authorization: 'Bearer sta_SECRET-of-an-agent-0123456789' }],
  ])('%s', async (path, id, headers: Record<string, string>) => {
    await open(path, { 'x-request-id': id, ...headers });
    const rows = await system.until(
      () => rowsOf({ request_id: id }),
      (found) => found.length > 0,
    );
    expect(rows).toMatchObject([
      {
        principal_kind: 'anonymous',
        action: 'socket.refused',
        target_kind: 'socket',
        target_id: path.split('?')[0],
        outcome: 'denied',
      },
    ]);
    expect(JSON.stringify(rows)).not.toContain('SECRET');
    expect(JSON.stringify(system.lines)).not.toContain('SECRET');
  });

  it('of pages from elsewhere', async () => {
    await open('/v1/events', { 'x-request-id': 'a-page', origin: 'https://elsewhere.example' });
    const rows = await system.until(
      () => rowsOf({ request_id: 'a-page' }),
      (found) => found.length > 0,
    );
    expect(rows).toMatchObject([{ action: 'socket.refused', details: { code: 'origin_not_allowed' } }]);
  });

  it('that lead nowhere are no refusals', async () => {
    await open('/v1/nothing', { 'x-request-id': 'nothing' });
    await open('/v1/events', { 'x-request-id': 'after' });
    await system.until(
      () => rowsOf({ request_id: 'after' }),
      (found) => found.length > 0,
    );
    expect(await rowsOf({ request_id: 'nothing' })).toEqual([]);
  });
});

describe('the number of rows', () => {
  const denial = (facts: Partial<Denial> = {}): Denial => ({
    principal: null,
    address: '203.0.113.1',
    requestId: 'flood',
    contract: listTasksRoute,
    code: 'unauthorized',
    ...facts,
  });

  it('is bounded for each source and kind, and the next row says how many were left out', async () => {
    let now = 1_000;
    const { onDenied } = createDenialRecorder(system.api.parts.domain, { now: () => now });
    const principal = actorOf('viewer', 'flooder').principal;
    for (let i = 0; i < MAX_DENIAL_ROWS + 7; i++) await onDenied(denial({ principal, code: 'forbidden' }));
    expect(await rowsOf({ principal_id: 'flooder' })).toHaveLength(MAX_DENIAL_ROWS);
    // Another kind is counted by itself.
    await onDenied(denial({ principal, code: 'rate_limited' }));
    expect(await rowsOf({ principal_id: 'flooder', action: 'rate.refused' })).toHaveLength(1);
    now += DENIAL_WINDOW_MS;
    await onDenied(denial({ principal, code: 'forbidden' }));
    const rows = await rowsOf({ principal_id: 'flooder', action: 'access.denied' });
    expect(rows).toHaveLength(MAX_DENIAL_ROWS + 1);
    expect(rows.at(-1)?.details).toMatchObject({ leftOutBefore: 7 });
  });

  it('is bounded for all strangers together, whatever their addresses', async () => {
    let now = 1_000;
    const { onDenied } = createDenialRecorder(system.api.parts.domain, { now: () => now });
    const count = async () => (await rowsOf({ request_id: 'strangers' })).length;
    for (let i = 0; i < MAX_STRANGER_ROWS + 40; i++) {
      await onDenied(denial({ requestId: 'strangers', address: `198.51.${i >> 8}.${i & 255}` }));
    }
    expect(await count()).toBe(MAX_STRANGER_ROWS);
    now += DENIAL_WINDOW_MS;
    await onDenied(denial({ requestId: 'strangers', address: '198.51.100.1' }));
    expect((await rowsOf({ request_id: 'strangers' })).at(-1)?.details).toMatchObject({ leftOutOfAll: 40 });
  });

  it('counts an IPv6 network as one source', async () => {
    const { onDenied } = createDenialRecorder(system.api.parts.domain);
    for (let i = 0; i < MAX_DENIAL_ROWS + 5; i++) {
      await onDenied(denial({ requestId: 'six', address: `2001:db8:1:2::${i.toString(16)}` }));
    }
    expect(await rowsOf({ request_id: 'six' })).toHaveLength(MAX_DENIAL_ROWS);
  });

  it('of errors that are no refusals is none', async () => {
    const { onDenied } = createDenialRecorder(system.api.parts.domain);
    await onDenied(denial({ requestId: 'other', code: 'validation_failed' }));
    expect(await rowsOf({ request_id: 'other' })).toEqual([]);
  });
});

it('a rate that is used up leaves one row: by the routes, or by the logins that count failures', async () => {
  const limited = await startSystem({ worker: false, env: { RATE_LIMIT: 'on' } });
  try {
    const attempt = (path: string, id: string) =>
      limited.request('POST', path, { username: id, password: 'wrong' }, { headers: { 'x-request-id': id } });
    const rows = (id: string): Promise<Row[]> =>
      limited.api.parts.db('audit_events').where({ request_id: id });
    const statuses: number[] = [];
    for (let i = 0; i < 12; i++) statuses.push((await attempt('/login', `guess-${i}`)).status);
    expect(statuses).toEqual([...Array<number>(10).fill(401), 429, 429]);
    expect(await rows('guess-11')).toMatchObject([
      { action: 'auth.login', outcome: 'denied', details: { reason: 'rate_limited' } },
    ]);
    for (let i = 0; i < 6; i++) await attempt('/v1/auth/login', `call-${i}`);
    expect(await rows('call-5')).toMatchObject([
      { action: 'rate.refused', target_id: 'POST /v1/auth/login', details: { code: 'rate_limited' } },
    ]);
  } finally {
    await limited.close();
  }
});

it('a refusal stands when its row cannot be written', async () => {
  const logged: string[] = [];
  const record = (fact: { event: string }) => void logged.push(fact.event);
  const broken = Object.assign(() => undefined, { isTransaction: false, client: undefined });
  const { onDenied } = createDenialRecorder({
    db: broken as never,
    log: { debug: record, info: record, warn: record, error: record },
  });
  await onDenied({
    principal: null,
    address: '203.0.113.1',
    requestId: 'x',
    contract: listTasksRoute,
    code: 'unauthorized',
  });
  expect(logged).toEqual(['denial_not_recorded']);
});
