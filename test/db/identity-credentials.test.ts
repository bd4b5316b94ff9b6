import { timingSafeEqual } from 'node:crypto';
import jwt from 'jsonwebtoken';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { createAuthenticate } from '../../api/authenticate.ts';
import type { CredentialSource } from '../../api/context.ts';
import { createEnrolment, enrolAgent } from '../../domain/agents/enrol.ts';
import { TOKEN_AUDIENCE, TOKEN_ISSUER } from '../../domain/identity/access-tokens.ts';
import { identify } from '../../domain/identity/identify.ts';
import { deriveKey } from '../../domain/identity/key-classes.ts';
import { login } from '../../domain/identity/login.ts';
import { logout } from '../../domain/identity/sessions.ts';
import type { IssuedTokens } from '../../domain/identity/tokens.ts';
import {
  actorOf,
  adminPassword,
  type IdentityStack,
  sharedAgentToken,
  startIdentity,
  testKey,
  testOrigin,
} from '../support/identity.ts';

vi.mock('node:crypto', async (importOriginal) => {
  const crypto = await importOriginal<typeof import('node:crypto')>();
  return { ...crypto, timingSafeEqual: vi.fn(crypto.timingSafeEqual) };
});

let stack: IdentityStack;
let tokens: IssuedTokens;
beforeAll(async () => {
  stack = await startIdentity();
  tokens = await login(stack.deps, testOrigin, { login: 'admin', password: adminPassword, family: 'house' });
});
afterAll(() => stack.close());

const refused = (token: string, deps = stack.deps) =>
  expect(identify(deps, token)).rejects.toMatchObject({ code: 'invalid_token' });

const claimsOf = (token: string) => jwt.decode(token) as jwt.JwtPayload;
const accessKey = deriveKey(testKey, 'access_token').export();
const sign = (claims: object, options: jwt.SignOptions = {}, key: string | Buffer = accessKey) =>
  jwt.sign(claims, key, { algorithm: 'HS256', ...options });

describe('access tokens', () => {
  it('carry the claims that clients of all families read', () => {
    const claims = claimsOf(tokens.accessToken);
    expect(claims).toEqual({
      sub: 'admin',
      uid: tokens.user.id,
      sid: tokens.sessionId,
      username: 'admin',
      email: 'admin@example.org',
      role: 'admin',
      iss: TOKEN_ISSUER,
      aud: TOKEN_AUDIENCE,
      typ: 'access',
      type: 'access',
      jti: expect.any(String),
      iat: expect.any(Number),
      exp: (claims.iat ?? 0) + 900,
    });
    expect(tokens.expiresIn).toBe(900);
  });

  it('may name the user id and live for another time, as a family wants it', async () => {
    const other = await login(stack.deps, testOrigin, {
      login: 'admin',
      password: adminPassword,
      family: 'alice',
      subject: 'user-id',
      accessTokenTtlMs: 60_000,
    });
    expect(claimsOf(other.accessToken).sub).toBe(other.user.id);
    expect(other.expiresIn).toBe(60);
  });

  it('name the user of their session', async () => {
    expect(await identify(stack.deps, tokens.accessToken)).toEqual({
      kind: 'user',
      id: tokens.user.id,
      name: 'admin',
      roles: ['admin'],
      sessionId: tokens.sessionId,
    });
  });

  it('that were good once are refused from their expiry on, and under other keys', async () => {
    const { accessToken } = await login(stack.deps, testOrigin, {
      login: 'admin',
      password: adminPassword,
      family: 'house',
    });
    const expiresAt = (claimsOf(accessToken).exp ?? 0) * 1000;
    const clock = vi.spyOn(Date, 'now');
    try {
      clock.mockReturnValue(expiresAt - 1);
      await identify(stack.deps, accessToken);
      expect((await identify(stack.deps, accessToken)).kind).toBe('user');
      clock.mockReturnValue(expiresAt);
      await expect(identify(stack.deps, accessToken)).rejects.toMatchObject({
        code: 'invalid_token',
        details: { reason: 'expired' },
      });
    } finally {
      clock.mockRestore();
    }
    await identify(stack.deps, accessToken);
    const rotated = { ...stack.deps.identity, secretKeys: ['r'.repeat(32)] };
    await refused(accessToken, { ...stack.deps, identity: rotated });
  });

  it('that were good once are refused when their session has ended', async () => {
    const session = await login(stack.deps, testOrigin, {
      login: 'admin',
      password: adminPassword,
      family: 'house',
    });
    const principal = await identify(stack.deps, session.accessToken);
    await logout(stack.deps, { ...testOrigin, principal });
    await refused(session.accessToken);
  });

  it.each([
    ['another audience', { aud: 'somebody' }],
    ['another issuer', { iss: 'somebody' }],
    ['another type', { typ: 'refresh' }],
    ['no expiry', { exp: undefined }],
    ['an expiry in the past', { exp: 1 }],
    ['a session of somebody else', { uid: '0198c0de-0000-7000-8000-000000000000' }],
    ['a session that does not exist', { sid: '0198c0de-0000-7000-8000-000000000000' }],
    ['a session id that is none', { sid: "' or true --" }],
  ])('are refused with %s', async (_what, changed) => {
    const claims = { ...claimsOf(tokens.accessToken), ...changed };
    await refused(sign(JSON.parse(JSON.stringify(claims))));
  });

  it('are refused unsigned, under another algorithm, under another key', async () => {
    const claims = claimsOf(tokens.accessToken);
    await refused(jwt.sign(claims, '', { algorithm: 'none' }));
    await refused(sign(claims, { algorithm: 'HS512' }));
    await refused(sign(claims, {}, 'z'.repeat(32)));
    await refused(sign(claims, {}, testKey));
    await refused(sign(claims, {}, deriveKey(testKey, 'refresh_token').export()));
    expect((await identify(stack.deps, sign(claims))).id).toBe(tokens.user.id);
    await refused(`${tokens.accessToken}x`);
  });
});

describe('the shared agent token', () => {
  it('is the system principal, an administrator only where configured', async () => {
    expect(await identify(stack.deps, sharedAgentToken)).toMatchObject({
      kind: 'system',
      id: 'agent-token',
      roles: ['system'],
    });
    const withAdmin = { ...stack.deps, identity: { ...stack.deps.identity, agentTokenAdmin: true } };
    expect((await identify(withAdmin, sharedAgentToken)).roles).toEqual(['system', 'admin']);
    await refused(`${sharedAgentToken}x`);
    await refused('');
  });

  it('is compared in constant time', async () => {
    const compare = vi.mocked(timingSafeEqual);
    compare.mockClear();
    await identify(stack.deps, sharedAgentToken);
    await refused('wrong');
    expect(compare).toHaveBeenCalledTimes(2);
    // Digests: the length of a guess tells nothing either.
    for (const [a, b] of compare.mock.calls) expect([a.byteLength, b.byteLength]).toEqual([32, 32]);
  });

  it('signs JWTs that live an hour at most', async () => {
    const now = Math.floor(Date.now() / 1000);
    const agentJwt = (claims: object, key = sharedAgentToken) => sign({ sub: 'hub', ...claims }, {}, key);
    expect((await identify(stack.deps, agentJwt({ exp: now + 3600 }))).kind).toBe('system');
    await refused(agentJwt({ exp: now + 3700 }));
    await refused(agentJwt({ exp: now - 60 }));
    await refused(agentJwt({}));
    await refused(agentJwt({ exp: now + 60 }, 'another-agent-token-9876543210'));
    const without = { ...stack.deps, identity: { ...stack.deps.identity, agentToken: () => null } };
    await refused(agentJwt({ exp: now + 60 }), without);
    await refused(sharedAgentToken, without);
  });
});

describe('where a credential may stand', () => {
  const source = (given: Partial<CredentialSource> & { search?: string }): CredentialSource => ({
    headers: {},
    query: new URLSearchParams(given.search),
    family: 'house',
    address: '192.0.2.1',
    channel: 'request',
    ...given,
  });
  const ask = (given: Parameters<typeof source>[0]) => createAuthenticate(stack.deps)(source(given));
  const search = `token=${sharedAgentToken}`;

  it.each([
    ['a Bearer header', { headers: { authorization: `bearer  ${sharedAgentToken}` } }],
    ['X-API-Key', { headers: { 'x-api-key': sharedAgentToken } }],
    ['the query of a socket', { channel: 'socket', search } as const],
    [
      'the query of a socket (api_token)',
      { channel: 'socket', search: `api_token=${sharedAgentToken}` } as const,
    ],
    ['the query of an event stream', { channel: 'stream', search } as const],
    ['any query of ananta', { family: 'ananta', search } as const],
  ])('takes it from %s', async (_where, given) => {
    expect((await ask(given))?.kind).toBe('system');
  });

  it('has nobody without one', async () => {
    expect(await ask({})).toBeNull();
    expect(await ask({ search })).toBeNull();
    expect(await ask({ headers: { authorization: 'Basic YTpi' } })).toBeNull();
  });

  it('goes by the header where header and query disagree', async () => {
    const wrong = { headers: { authorization: 'Bearer wrong', upgrade: 'websocket' }, search };
    await expect(ask(wrong)).rejects.toMatchObject({ code: 'invalid_token' });
    await expect(ask({ headers: { authorization: 'Bearer ' } })).rejects.toMatchObject({
      code: 'invalid_token',
    });
  });

  it('takes tokens of agents until they are revoked, and notes their use', async () => {
    const { enrolmentToken } = await createEnrolment(stack.deps, actorOf('operator'), {
      tags: [],
      maxUses: 1,
      ttlMs: 60_000,
    });
    const { agentId, agentToken } = await enrolAgent(stack.deps, testOrigin, {
      enrolmentToken,
      hostname: 'web-1',
    });
    expect(await ask({ headers: { authorization: `Bearer ${agentToken}` } })).toEqual({
      kind: 'agent',
      id: agentId,
      name: 'web-1',
      roles: ['agent'],
      sessionId: null,
      credentialId: expect.any(String),
    });
    await vi.waitFor(async () => {
      const [row] = await stack.db('agent_tokens').where({ agent_id: agentId });
      expect(row.last_used_at).toBeInstanceOf(Date);
    });
    await stack
      .db('agent_tokens')
      .where({ agent_id: agentId })
      .update({ revoked_at: stack.db.raw('now()') });
    await refused(agentToken);
    await refused('sta_unknown');
  });
});
