import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createAuthenticate } from '../../api/authenticate.ts';
import { authRoutes } from '../../api/routes/v1/auth.ts';
import { userRoutes } from '../../api/routes/v1/users.ts';
import type { TokensView } from '../../contracts/auth.ts';
import { can } from '../../domain/policy.ts';
import { sendJson, startTestServer, type TestServer } from '../support/http.ts';
import { adminPassword, type IdentityStack, sharedAgentToken, startIdentity } from '../support/identity.ts';

let stack: IdentityStack;
let server: TestServer;
beforeAll(async () => {
  stack = await startIdentity();
  server = await startTestServer({
    routes: [...authRoutes(stack.deps), ...userRoutes(stack.deps)],
    authenticate: createAuthenticate(stack.deps),
    can,
  });
});
afterAll(async () => {
  await server.close();
  await stack.close();
});

const post = (path: string, body: unknown, headers: Record<string, string> = {}) =>
  server.fetch(`/v1/auth/${path}`, sendJson(body, headers));
const bearer = (token: string) => ({ Authorization: `Bearer ${token}` });
const me = (token: string) => server.fetch('/v1/auth/me', { headers: bearer(token) });

async function logIn(): Promise<TokensView> {
  const response = await post('login', { username: 'admin', password: adminPassword });
  expect(response.status).toBe(200);
  return (await response.json()) as TokensView;
}

describe('/v1/auth', () => {
  it('logs in, knows who asks, refreshes, logs out, and then knows nobody', async () => {
    const first = await logIn();
    expect(first).toMatchObject({
      tokenType: 'Bearer',
      expiresIn: 900,
      user: { username: 'admin', role: 'admin', email: 'admin@example.org', isActive: true },
    });
    expect(JSON.stringify(first)).not.toContain('$2b$');
    expect(await (await me(first.accessToken)).json()).toEqual(first.user);

    const refreshed = await post('refresh', { refreshToken: first.refreshToken });
    expect(refreshed.status).toBe(200);
    expect(refreshed.headers.get('cache-control')).toBe('no-store');
    const second = (await refreshed.json()) as TokensView;
    expect(second.refreshToken).not.toBe(first.refreshToken);

    const logout = await post('logout', undefined, bearer(second.accessToken));
    expect(logout.status).toBe(204);
    for (const token of [first.accessToken, second.accessToken]) {
      const refused = await me(token);
      expect(refused.status).toBe(401);
      expect(await refused.json()).toMatchObject({ code: 'invalid_token' });
    }
    expect((await post('refresh', { refreshToken: second.refreshToken })).status).toBe(401);
  });

  it('tells what is wrong with the body only to whose session lives, though it is read meanwhile', async () => {
    const { accessToken } = await logIn();
    const headers = { ...bearer(accessToken), 'Content-Type': 'application/json' };
    const broken = () => server.fetch('/v1/auth/me', { method: 'PATCH', headers, body: '{"a":' });
    expect((await broken()).status).toBe(400);
    expect((await post('logout', undefined, bearer(accessToken))).status).toBe(204);
    const refused = await broken();
    expect(refused.status).toBe(401);
    expect(await refused.json()).toMatchObject({ code: 'invalid_token' });
  });

  it('answers wrong names and wrong passwords alike, byte for byte but the request id', async () => {
    const bodies = [];
    for (const attempt of [
      { username: 'admin', password: 'wrong' },
      { username: 'nobody', password: adminPassword },
      { username: "' or 1=1 --", password: 'x'.repeat(1000) },
    ]) {
      const response = await post('login', attempt, { 'X-Request-Id': 'same' });
      expect(response.status).toBe(401);
      bodies.push(await response.text());
    }
    expect(new Set(bodies).size).toBe(1);
    expect(JSON.parse(bodies[0] ?? '')).toMatchObject({ code: 'invalid_credentials' });
  });

  it.each([
    {},
    { username: 'admin' },
    { username: 'admin', password: 7 },
    { username: '', password: 'x' },
    { username: 'admin', password: 'x', extra: true },
    [],
  ])('refuses the login body %j', async (body) => {
    const response = await post('login', body);
    expect(response.status).toBe(422);
    expect(await response.json()).toMatchObject({ code: 'validation_failed' });
  });

  it('logs in although the client still sends a stale token', async () => {
    const body = { username: 'admin', password: adminPassword };
    expect((await post('login', body, bearer('stale'))).status).toBe(200);
  });

  it('lets nobody in without a session', async () => {
    const nobody = await server.fetch('/v1/auth/me');
    expect(nobody.status).toBe(401);
    expect(await nobody.json()).toMatchObject({ code: 'unauthorized' });
    expect((await me(sharedAgentToken)).status).toBe(403);
    expect((await me('junk')).status).toBe(401);
    expect((await server.fetch(`/v1/auth/me?token=${(await logIn()).accessToken}`)).status).toBe(401);
  });

  it('logs no secret', async () => {
    const tokens = await logIn();
    await me(tokens.accessToken);
    await server.fetch(`/v1/auth/me?token=${tokens.accessToken}`);
    const logged = JSON.stringify(server.lines);
    for (const secret of [adminPassword, tokens.accessToken, tokens.refreshToken]) {
      expect(logged).not.toContain(secret);
    }
  });
});
