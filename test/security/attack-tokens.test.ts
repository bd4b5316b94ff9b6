/** Tokens as a thief or a forger sends them, by HTTP, to every dialect and to more than one process. */
import { createHmac, createPublicKey, generateKeyPairSync } from 'node:crypto';
import jwt from 'jsonwebtoken';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { MAX_AGENT_JWT_TTL_S } from '../../domain/identity/access-tokens.ts';
import { REFRESH_GRACE_MS } from '../../domain/identity/deps.ts';
import { deriveKey } from '../../domain/identity/key-classes.ts';
import { freshAddress } from '../support/second-factor.ts';
import { type System, startSystem } from '../support/system.ts';

const AGENT_TOKEN = 'the-shared-agent-token-of-this-test';

let system: System;
let second = '';
beforeAll(async () => {
  system = await startSystem({ worker: false, env: { AGENT_TOKEN, TRUST_PROXY_HOPS: '1' } });
  second = (await system.openApi()).url;
});
afterAll(() => system.close());

const base64 = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url');

function sign(header: object, claims: object, key: string | Buffer, hash = 'sha256'): string {
  const text = `${base64(header)}.${base64(claims)}`;
  return `${text}.${createHmac(hash, key).update(text).digest('base64url')}`;
}

const statusOf = async (path: string, token: string, url = system.url): Promise<number> => {
  const reply = await fetch(`${url}${path}`, {
    headers: { authorization: `Bearer ${token}`, 'x-forwarded-for': freshAddress() },
  });
  await reply.arrayBuffer();
  return reply.status;
};

const me = ['/v1/auth/me', '/me', '/auth/user', '/api/v1/auth/me'] as const;

describe('an access token', () => {
  const claims = (): Record<string, unknown> => jwt.decode(system.token()) as Record<string, unknown>;
  const key = (): Buffer => deriveKey(system.env.SECRET_KEY ?? '', 'access_token').export();
  const hs256 = { alg: 'HS256', typ: 'JWT' };
  const foreignKey = 'a-key-that-somebody-else-has-chosen-0123';

  it('as it should be is good everywhere, so that what follows is refused for what it says', async () => {
    for (const path of me) expect(await statusOf(path, sign(hs256, claims(), key()))).toBe(200);
  });

  const { publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const pem = createPublicKey(publicKey.export({ type: 'spki', format: 'pem' })).export({
    type: 'spki',
    format: 'pem',
  }) as string;

  const forgeries: Record<string, () => string> = {
    'names its key by a path (kid)': () => sign({ ...hs256, kid: '../../../../dev/null' }, claims(), ''),
    'names its key by SQL (kid)': () => sign({ ...hs256, kid: "' union select 'x' --" }, claims(), 'x'),
    'says where its keys are (jku)': () =>
      sign({ ...hs256, jku: 'https://evil.example/jwks.json' }, claims(), foreignKey),
    'says where its certificate is (x5u)': () =>
      sign({ ...hs256, x5u: 'https://evil.example/x.pem' }, claims(), foreignKey),
    'brings a symmetric key (jwk)': () =>
      sign(
        { ...hs256, jwk: { kty: 'oct', k: Buffer.from(foreignKey).toString('base64url') } },
        claims(),
        foreignKey,
      ),
    'is signed with a public key as if that were a secret': () => sign(hs256, claims(), pem),
    'says RS256 and is signed with the right secret': () => sign({ alg: 'RS256' }, claims(), key()),
    'says HS384 and is': () => sign({ alg: 'HS384' }, claims(), key(), 'sha384'),
    'is good later only (nbf)': () => sign(hs256, { ...claims(), nbf: Date.now() / 1000 + 600 }, key()),
    'is for several audiences, none of them us': () => sign(hs256, { ...claims(), aud: ['a', 'b'] }, key()),
    'has no audience': () => sign(hs256, { ...claims(), aud: undefined }, key()),
    'has no issuer': () => sign(hs256, { ...claims(), iss: undefined }, key()),
    'has no type': () => sign(hs256, { ...claims(), typ: undefined }, key()),
    'has the type of the other field only': () =>
      sign(hs256, { ...claims(), typ: undefined, type: 'access' }, key()),
    'has no user': () => sign(hs256, { ...claims(), uid: undefined }, key()),
    'has its user in sub only': () => sign(hs256, { ...claims(), uid: undefined, sub: claims().uid }, key()),
    'has no session': () => sign(hs256, { ...claims(), sid: undefined }, key()),
    'has two sessions': () => sign(hs256, { ...claims(), sid: [claims().sid, claims().sid] }, key()),
    'expires before it began': () => sign(hs256, { ...claims(), exp: -1 }, key()),
    'expires at no number': () => sign(hs256, { ...claims(), exp: Number.NaN }, key()),
    'expires at a fraction': () => sign(hs256, { ...claims(), exp: 9_999_999_999.5 }, key()),
    'expires never': () => sign(hs256, { ...claims(), exp: null }, key()),
    'is a list': () => sign(hs256, [claims()], key()),
    'has a fourth part': () => `${system.token()}.x`,
    'has lost its signature': () => system.token().split('.').slice(0, 2).join('.').concat('.'),
    'has white space in it': () => system.token().replace('.', '. '),
  };

  it.each(Object.entries(forgeries))('that %s is refused by every dialect', async (_name, make) => {
    const token = make();
    for (const path of me) expect([path, await statusOf(path, token)]).toEqual([path, 401]);
  });
});

describe('a JWT of the shared agent token', () => {
  const now = (): number => Math.floor(Date.now() / 1000);
  const good = () => ({ exp: now() + 600 });

  it('as it should be is good', async () => {
    expect(await statusOf('/v1/tasks', sign({ alg: 'HS256' }, good(), AGENT_TOKEN))).toBe(200);
  });

  const forgeries: Record<string, () => string> = {
    'is unsigned': () => `${base64({ alg: 'none' })}.${base64(good())}.`,
    'is signed with HS512': () => sign({ alg: 'HS512' }, good(), AGENT_TOKEN, 'sha512'),
    'has no exp': () => sign({ alg: 'HS256' }, { sub: 'x' }, AGENT_TOKEN),
    'has expired': () => sign({ alg: 'HS256' }, { exp: now() - 60 }, AGENT_TOKEN),
    'lives too long': () => sign({ alg: 'HS256' }, { exp: now() + MAX_AGENT_JWT_TTL_S + 60 }, AGENT_TOKEN),
    'lives for ever': () => sign({ alg: 'HS256' }, { exp: 1e20 }, AGENT_TOKEN),
    'is signed with a shortened token': () => sign({ alg: 'HS256' }, good(), AGENT_TOKEN.slice(0, -1)),
    'brings its key': () =>
      sign({ alg: 'HS256', jwk: { kty: 'oct', k: Buffer.from('x').toString('base64url') } }, good(), 'x'),
  };
  it.each(Object.entries(forgeries))('that %s is refused', async (_name, make) => {
    expect(await statusOf('/v1/tasks', make())).toBe(401);
  });

  it('is no administrator and nobody’s session, whatever it claims', async () => {
    const claims = jwt.decode(system.token()) as Record<string, unknown>;
    const token = sign(
      { alg: 'HS256' },
      { ...claims, ...good(), role: 'admin', roles: ['admin'] },
      AGENT_TOKEN,
    );
    for (const path of [
      '/v1/users',
      '/v1/settings',
      '/v1/audit',
      '/audit-logs',
      '/users',
      '/api/v1/settings',
    ]) {
      expect([path, await statusOf(path, token)]).toEqual([path, 403]);
    }
    for (const path of me) expect([403, 404]).toContain(await statusOf(path, token));
  });
});

describe('a refresh token', () => {
  interface Pair {
    status: number;
    access: string;
    refresh: string;
  }
  type Way = (token: string, url?: string) => Promise<Pair>;

  const way =
    (path: string, field: string): Way =>
    async (token, url = system.url) => {
      const reply = await fetch(`${url}${path}`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', 'x-forwarded-for': freshAddress() },
        body: JSON.stringify({ [field]: token }),
      });
      const text = await reply.text();
      const found = (name: RegExp): string => name.exec(text)?.[1] ?? '';
      return {
        status: reply.status,
        access: found(/"access_?token":"([^"]+)"/i),
        refresh: found(/"refresh_?token":"([^"]+)"/i),
      };
    };
  const ways: Way[] = [
    way('/v1/auth/refresh', 'refreshToken'),
    way('/refresh-token', 'refresh_token'),
    way('/api/auth/refresh-token', 'refresh_token'),
    way('/auth/refresh', 'refresh_token'),
    way('/api/v1/auth/refresh', 'refresh_token'),
  ];
  const [house] = ways as [Way];

  const login = () =>
    system.call<{ accessToken: string; refreshToken: string }>('POST', '/v1/auth/login', {
      username: 'admin',
      password: 'Correct-Horse-7',
    });

  it('sent by twenty at once, in every dialect and to two processes, has one successor', async () => {
    const { refreshToken } = await login();
    const pairs = await Promise.all(
      Array.from({ length: 20 }, (_, i) =>
        ways[i % ways.length]?.(refreshToken, i % 2 === 0 ? system.url : second),
      ),
    );
    expect(pairs.map((pair) => pair?.status)).toEqual(Array.from({ length: 20 }, () => 200));
    expect(new Set(pairs.map((pair) => pair?.refresh)).size).toBe(1);
    const successor = pairs[0]?.refresh ?? '';
    expect(successor).not.toBe(refreshToken);
    const sessions = new Set(pairs.map((pair) => (jwt.decode(pair?.access ?? '') as { sid: string }).sid));
    expect(sessions.size).toBe(1);
    expect(
      await system.api.parts.db('refresh_tokens').where({ session_id: [...sessions][0] ?? '' }),
    ).toHaveLength(2);
    expect((await house(successor)).status).toBe(200);
  });

  it.each(ways.map((each, at) => [at, each] as const))(
    'used again after the grace ends the session with all that came of it, in each dialect (%i)',
    async (_at, reuse) => {
      const { accessToken, refreshToken } = await login();
      const { sid } = jwt.decode(accessToken) as { sid: string };
      const next = await house(refreshToken);
      expect((await reuse(refreshToken)).refresh).toBe(next.refresh);
      const { db } = system.api.parts;
      await db('refresh_tokens')
        .where({ session_id: sid })
        .whereNotNull('used_at')
        .update({ used_at: db.raw("now() - (? * interval '1 millisecond')", [REFRESH_GRACE_MS + 1_000]) });
      expect((await reuse(refreshToken, second)).status).toBe(401);
      for (const token of [accessToken, next.access]) {
        for (const path of me) expect([path, await statusOf(path, token)]).toEqual([path, 401]);
      }
      for (const again of ways) expect((await again(next.refresh)).status).toBe(401);
      const rows = await db('audit_events').where({ target_id: sid }).orderBy('id');
      expect(rows.map(({ action, outcome }) => [action, outcome])).toEqual([
        ['auth.login', 'success'],
        ['auth.refresh_reuse', 'denied'],
        ['session.revoke', 'success'],
      ]);
    },
  );
});
