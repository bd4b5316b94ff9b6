/** Forged, stale and misplaced credentials, by HTTP, event stream and WebSocket. */
import { createHmac, generateKeyPairSync, sign } from 'node:crypto';
import jwt from 'jsonwebtoken';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import WebSocket from 'ws';
import { parseConfig } from '../../config.ts';
import { deriveKey } from '../../domain/identity/key-classes.ts';
import { openSse } from '../support/event-streams.ts';
import { type System, startSystem } from '../support/system.ts';
import { deskOf } from '../support/tasks.ts';

const AGENT_TOKEN = 'the-shared-agent-token-of-this-test';
/** Promise P8, and what a busy machine may add. */
const REVOCATION_DEADLINE_MS = 5_000 + 1_500;

let system: System;
let good: Record<string, unknown>;
/** The key access tokens are signed with, as only the server can know it. */
let key: Buffer;

beforeAll(async () => {
  system = await startSystem({ worker: false, env: { AGENT_TOKEN } });
  good = jwt.decode(system.token()) as Record<string, unknown>;
  key = deriveKey(system.env.SECRET_KEY ?? '', 'access_token').export();
});
afterAll(() => system.close());

const me = async (token: string): Promise<number> =>
  (await system.request('GET', '/v1/auth/me', undefined, { token })).status;

/** Code with which the server closes an event socket or an agent socket that this token opens; null: it stays. */
function closeCodeOf(path: string, token: string, waitMs = 1_000): Promise<number | null> {
  return new Promise((resolve) => {
    const socket = new WebSocket(`${system.url.replace('http', 'ws')}${path}`, {
      headers: { authorization: `Bearer ${token}` },
    });
    const timer = setTimeout(() => {
      resolve(null);
      socket.terminate();
    }, waitMs);
    socket.on('error', () => {});
    socket.on('close', (code) => {
      clearTimeout(timer);
      resolve(code);
    });
  });
}

const base64 = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url');
const hmac = (text: string, secret: string | Buffer, hash = 'sha256'): string =>
  createHmac(hash, secret).update(text).digest('base64url');

/** A token with this header and these claims, signed with HMAC. */
function forge(header: object, claims: object, secret: string | Buffer, hash?: string): string {
  const text = `${base64(header)}.${base64(claims)}`;
  return `${text}.${hmac(text, secret, hash)}`;
}

describe('an access token', () => {
  const hs256 = { alg: 'HS256', typ: 'JWT' };
  const forgeries: Record<string, () => string> = {
    'is unsigned': () => `${base64({ alg: 'none', typ: 'JWT' })}.${base64(good)}.`,
    'is unsigned and has a signature': () => `${base64({ alg: 'none' })}.${base64(good)}.${hmac('x', 'y')}`,
    'says none in other letters': () => `${base64({ alg: 'nOnE' })}.${base64(good)}.eA`,
    'is signed with HS512': () => forge({ alg: 'HS512' }, good, key, 'sha512'),
    'is signed with HS256 but says HS512': () => forge({ alg: 'HS512' }, good, key),
    'is signed with another key': () => forge(hs256, good, 'x'.repeat(48)),
    'is signed with SECRET_KEY itself': () => forge(hs256, good, system.env.SECRET_KEY ?? ''),
    'is signed with the key of another use': () =>
      forge(hs256, good, deriveKey(system.env.SECRET_KEY ?? '', 'refresh_token').export()),
    'is signed with the empty key': () => forge(hs256, good, ''),
    'is signed with the shared agent token': () => forge(hs256, good, `${AGENT_TOKEN}x`),
    'has no exp': () => forge(hs256, { ...good, exp: undefined }, key),
    'has an exp that is text': () => forge(hs256, { ...good, exp: '9999999999' }, key),
    'has expired': () => forge(hs256, { ...good, exp: Math.floor(Date.now() / 1000) - 1 }, key),
    'is of another issuer': () => forge(hs256, { ...good, iss: 'somebody' }, key),
    'is for another audience': () => forge(hs256, { ...good, aud: 'somebody' }, key),
    'is of another type': () => forge(hs256, { ...good, typ: 'refresh' }, key),
    'names another user in this session': () =>
      forge(hs256, { ...good, uid: '01890000-0000-7000-8000-000000000000' }, key),
    'names a session that never was': () =>
      forge(hs256, { ...good, sid: '01890000-0000-7000-8000-000000000000' }, key),
    'names a session that is no id': () => forge(hs256, { ...good, sid: "' or true --" }, key),
    'has its claims changed': () => {
      const [head, , mac] = system.token().split('.');
      return `${head}.${base64({ ...good, role: 'admin' })}.${mac}x`;
    },
    'brings its own key': () => {
      const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
      const jwk = publicKey.export({ format: 'jwk' });
      const text = `${base64({ alg: 'RS256', jwk })}.${base64(good)}`;
      return `${text}.${sign('sha256', Buffer.from(text), privateKey).toString('base64url')}`;
    },
  };

  it.each(Object.entries(forgeries))('that %s is refused', async (_name, make) => {
    const token = make();
    expect(await me(token)).toBe(401);
    expect(await closeCodeOf('/v1/events', token)).toBe(1008);
  });

  it('says no more than the session row: a role in the claims is not believed', async () => {
    const user = await deskOf(system).addUser('user', 'plain');
    const claims = { ...(jwt.decode(user) as object), role: 'admin', roles: ['admin'] };
    const token = forge(hs256, claims, key);
    expect((await system.request('POST', '/v1/agents/enrolments', {}, { token })).status).toBe(403);
  });
});

describe('a credential in the wrong place', () => {
  it('a refresh token is no access token, and an access token refreshes nothing', async () => {
    const body = { username: 'admin', password: 'Correct-Horse-7' };
    const opened = await system.call<{ refreshToken: string; accessToken: string }>(
      'POST',
      '/v1/auth/login',
      body,
    );
    expect(await me(opened.refreshToken)).toBe(401);
    const refresh = { refreshToken: opened.accessToken };
    expect((await system.request('POST', '/v1/auth/refresh', refresh)).status).toBe(401);
  });

  it('an agent token is no user, a user token no agent, an enrolment token neither', async () => {
    const { agentId, agentToken } = await system.enrol('misplaced');
    const { enrolmentToken } = await system.call<{ enrolmentToken: string }>(
      'POST',
      '/v1/agents/enrolments',
      {},
    );
    expect(await me(agentToken)).toBe(403);
    expect(await me(enrolmentToken)).toBe(401);
    expect(await closeCodeOf('/v1/events', agentToken)).toBe(1008);
    expect(await closeCodeOf('/v1/agent', system.token())).toBe(1008);
    expect(await closeCodeOf('/v1/agent', AGENT_TOKEN)).toBe(1008);
    expect(await closeCodeOf('/v1/agent', enrolmentToken)).toBe(1008);
    const body = { enrolmentToken: agentToken, hostname: 'x', agentId: 'another' };
    expect((await system.request('POST', '/v1/agents/enrol', body)).status).toBe(401);
    expect(agentId).toBe('misplaced');
  });

  it('JWTs of the shared agent token live an hour at most and are `system`', async () => {
    const now = Math.floor(Date.now() / 1000);
    const listAgents = async (token: string) =>
      (await system.request('GET', '/v1/agents', undefined, { token })).status;
    const hs256 = { alg: 'HS256' };
    expect(await listAgents(forge(hs256, { exp: now + 600 }, AGENT_TOKEN))).toBe(200);
    expect(await me(forge(hs256, { exp: now + 600 }, AGENT_TOKEN))).toBe(403);
    for (const claims of [{}, { exp: now + 4_000 }, { exp: now - 60 }, { exp: now + 600, nbf: now + 300 }]) {
      expect(await listAgents(forge(hs256, claims, AGENT_TOKEN)), JSON.stringify(claims)).toBe(401);
    }
    expect(await listAgents(forge({ alg: 'HS512' }, { exp: now + 600 }, AGENT_TOKEN, 'sha512'))).toBe(401);
  });

  it('a token in the query counts only where clients cannot send headers', async () => {
    const path = `/v1/auth/me?token=${system.token()}`;
    expect((await fetch(`${system.url}${path}`)).status).toBe(401);
  });
});

describe('what was taken away', () => {
  it('a disabled user is out at once by HTTP, and within five seconds on open streams and sockets', async () => {
    const desk = deskOf(system);
    const token = await desk.addUser('operator', 'leaving');
    const stream = await openSse(`${system.url}/v1/events`, { Authorization: `Bearer ${token}` });
    expect(stream.response.status).toBe(200);
    const socket = closeCodeOf('/v1/events', token, 20_000);
    await stream.until((events) => events.length > 0);
    await desk.sql(`update users set is_active = false where username = 'leaving' returning id`);
    const since = performance.now();
    expect(await me(token)).toBe(401);
    expect(await closeCodeOf('/v1/events', token)).toBe(1008);
    expect(await socket).toBe(1008);
    await stream.ended;
    expect(performance.now() - since).toBeLessThan(REVOCATION_DEADLINE_MS);
  });

  it('a demoted user decides nothing more with the token of before', async () => {
    const desk = deskOf(system);
    const token = await desk.addUser('operator', 'sinking');
    expect((await system.request('POST', '/v1/agents/enrolments', {}, { token })).status).toBe(201);
    await desk.sql(`update users set role = 'viewer' where username = 'sinking' returning id`);
    expect((await system.request('POST', '/v1/agents/enrolments', {}, { token })).status).toBe(403);
  });

  it('an expired session is no session', async () => {
    const desk = deskOf(system);
    const token = await desk.addUser('user', 'sleeping');
    const { sid } = jwt.decode(token) as { sid: string };
    await desk.sql(`update sessions set expires_at = now() where id = cast(:sid as uuid) returning id`, {
      sid,
    });
    expect(await me(token)).toBe(401);
  });
});

describe('guessing', () => {
  it('is stopped after a few tries, whatever the client says of itself', async () => {
    const limited = await startSystem({ worker: false, env: { RATE_LIMIT: 'on' } });
    const statuses: number[] = [];
    for (let i = 0; i < 8; i++) {
      const headers = { 'x-forwarded-for': `203.0.113.${i}`, 'user-agent': `agent ${i}` };
      const body = { username: `name-${i}`, password: 'Wrong-Horse-7' };
      statuses.push((await limited.request('POST', '/v1/auth/login', body, { headers })).status);
    }
    expect(statuses.slice(-3)).toEqual([429, 429, 429]);
    expect(statuses.every((status) => status === 401 || status === 429)).toBe(true);
    await limited.close();
  });
});

describe('configuration', () => {
  const base = {
    DATABASE_URL: 'postgres://a:b@127.0.0.1/c',
    TEMPORAL_ADDRESS: '127.0.0.1:7233',
    NODE_ENV: 'production',
  };
  const full = {
    ...base,
    SECRET_KEY: 'k'.repeat(48),
    SETTINGS_ENCRYPTION_KEY: `${Buffer.alloc(32, 7).toString('base64url')}=`,
    TRUST_PROXY_HOPS: '1',
  };
  it('production refuses what would be open: missing keys, plaintext, no limits, one key for two', () => {
    expect(() => parseConfig(base, { role: 'api' })).toThrow(/SECRET_KEY[\s\S]*SETTINGS_ENCRYPTION_KEY/);
    expect(() => parseConfig({ ...full, TRUST_PROXY_HOPS: '0' }, { role: 'api' })).toThrow(/LISTEN/);
    expect(() => parseConfig({ ...full, RATE_LIMIT: 'off' }, { role: 'api' })).toThrow(/RATE_LIMIT/);
    expect(() => parseConfig({ ...full, AGENT_TOKEN: full.SECRET_KEY }, { role: 'api' })).toThrow(
      /AGENT_TOKEN/,
    );
    expect(parseConfig(full, { role: 'api' }).production).toBe(true);
  });

  it('never repeats a value that may be a secret', () => {
    const secret = 'short-secret-1';
    const env = {
      ...full,
      SECRET_KEY: secret,
      AGENT_TOKEN: secret,
      SETTINGS_ENCRYPTION_KEY: secret,
      DATABASE_URL: secret,
    };
    let message = '';
    try {
      parseConfig(env, { role: 'api' });
    } catch (error) {
      message = String(error);
    }
    expect(message).toContain('SECRET_KEY');
    expect(message).not.toContain(secret);
  });
});
