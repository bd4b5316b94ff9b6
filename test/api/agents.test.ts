import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createAuthenticate } from '../../api/authenticate.ts';
import { agentRoutes } from '../../api/routes/v1/agents.ts';
import type { AgentView } from '../../contracts/agents.ts';
import { login } from '../../domain/identity/login.ts';
import { can } from '../../domain/policy.ts';
import { sendJson, startTestServer, type TestServer } from '../support/http.ts';
import {
  adminPassword,
  type IdentityStack,
  sharedAgentToken,
  startIdentity,
  testOrigin,
} from '../support/identity.ts';

let stack: IdentityStack;
let server: TestServer;
let admin: { Authorization: string };
beforeAll(async () => {
  stack = await startIdentity();
  server = await startTestServer({
    routes: agentRoutes(stack.deps),
    authenticate: createAuthenticate(stack.deps),
    can,
  });
  const tokens = await login(stack.deps, testOrigin, {
    login: 'admin',
    password: adminPassword,
    family: 'house',
  });
  admin = { Authorization: `Bearer ${tokens.accessToken}` };
});
afterAll(async () => {
  await server.close();
  await stack.close();
});

interface Answer<Body> {
  status: number;
  body: Body;
}

async function ask<Body = Record<string, unknown>>(
  method: string,
  path: string,
  body?: unknown,
  headers: Record<string, string> = admin,
): Promise<Answer<Body>> {
  const init = body === undefined ? { headers } : sendJson(body, headers);
  const response = await server.fetch(`/v1/agents${path}`, { ...init, method });
  const text = await response.text();
  return { status: response.status, body: (text === '' ? undefined : JSON.parse(text)) as Body };
}

const invite = async (wish: object = {}) =>
  (await ask<{ id: string; enrolmentToken: string }>('POST', '/enrolments', wish)).body;

async function enrol(agentId?: string): Promise<{ agentId: string; agentToken: string }> {
  const { enrolmentToken } = await invite({ tags: ['linux'] });
  const wish = { enrolmentToken, hostname: ' web-1 ', os: 'linux', arch: 'x64', version: '1.0.0', agentId };
  const answer = await ask<{ agentId: string; agentToken: string }>('POST', '/enrol', wish, {});
  expect(answer.status).toBe(201);
  return answer.body;
}

describe('/v1/agents', () => {
  it('enrols, reads, tags, lists and revokes an agent', async () => {
    const { agentId, agentToken } = await enrol('db.example:1');
    expect(agentId).toBe('db.example:1');
    expect(agentToken).toMatch(/^sta_[\w-]{43}$/);

    const read = await ask<AgentView>('GET', `/${agentId}`);
    expect(read.body).toMatchObject({
      id: agentId,
      hostname: 'web-1',
      os: 'linux',
      status: 'offline',
      tags: ['linux'],
    });
    const tagged = await ask<AgentView>('PATCH', `/${agentId}`, { tags: ['db', 'eu/west'] });
    expect(tagged).toMatchObject({ status: 200, body: { tags: ['db', 'eu/west'] } });
    const listed = await ask<{ items: AgentView[] }>('GET', '?tag=eu/west&status=offline&limit=1');
    expect(listed.body.items).toEqual([tagged.body]);

    const asAgent = { Authorization: `Bearer ${agentToken}` };
    expect((await ask('GET', `/${agentId}`, undefined, asAgent)).status).toBe(403);
    const revoked = await ask<AgentView>('POST', `/${agentId}/revoke`);
    expect(revoked).toMatchObject({ status: 200, body: { status: 'revoked' } });
    expect((await ask('POST', `/${agentId}/revoke`)).body).toEqual(revoked.body);
    expect((await ask('GET', `/${agentId}`, undefined, asAgent)).status).toBe(401);
    expect((await ask('POST', `/${agentId}/rotate-token`)).body).toMatchObject({ code: 'agent_revoked' });
  });

  it('rotates the token of an agent', async () => {
    const { agentId, agentToken } = await enrol();
    const rotated = await ask<{ agentToken: string }>('POST', `/${agentId}/rotate-token`);
    expect(rotated.status).toBe(200);
    expect(rotated.body.agentToken).not.toBe(agentToken);
    const withToken = (token: string) => ask('GET', '', undefined, { Authorization: `Bearer ${token}` });
    expect((await withToken(agentToken)).status).toBe(401);
    expect((await withToken(rotated.body.agentToken)).status).toBe(403);
  });

  it('pages to the end', async () => {
    for (let i = 0; i < 3; i++) await enrol();
    const [total] = await stack.db('agents').count();
    const seen = new Set<string>();
    let cursor: string | null = '';
    while (cursor !== null) {
      const query: string = cursor === '' ? '?limit=2' : `?limit=2&cursor=${cursor}`;
      const page: Answer<{ items: AgentView[]; nextCursor: string | null }> = await ask('GET', query);
      for (const agent of page.body.items) seen.add(agent.id);
      cursor = page.body.nextCursor;
    }
    expect({ count: seen.size }).toEqual(total);
  });

  it('answers clearly to bad requests', async () => {
    const { agentId } = await enrol();
    const { enrolmentToken } = await invite();
    const wish = { enrolmentToken, hostname: 'x' };
    expect(await ask('GET', '?cursor=junk')).toMatchObject({ status: 422, body: { code: 'invalid_cursor' } });
    expect(await ask('GET', '?status=asleep')).toMatchObject({ status: 422 });
    expect(await ask('GET', '/nobody')).toMatchObject({ status: 404, body: { code: 'agent_not_found' } });
    expect(await ask('GET', '/not%20an%20id')).toMatchObject({ status: 422 });
    expect(await ask('PATCH', `/${agentId}`, { tags: ['a b'] })).toMatchObject({ status: 422 });
    expect(await ask('POST', '/enrol', { ...wish, agentId }, {})).toMatchObject({
      status: 409,
      body: { code: 'agent_exists' },
    });
    expect(await ask('POST', '/enrol', { ...wish, agentId: 'connected' }, {})).toMatchObject({
      status: 422,
      body: { code: 'validation_failed' },
    });
    expect(await ask('POST', '/enrol', { ...wish, enrolmentToken: 'x' }, {})).toMatchObject({
      status: 401,
      body: { code: 'enrolment_token_invalid' },
    });
    expect(await ask('POST', '/enrol', wish, {})).toMatchObject({ status: 201 });
  });

  it('needs somebody with the right', async () => {
    for (const [method, path] of [
      ['GET', ''],
      ['POST', '/enrolments'],
      ['POST', '/x/revoke'],
      ['POST', '/x/rotate-token'],
    ] as const) {
      expect((await ask(method, path, undefined, {})).status, `${method} ${path}`).toBe(401);
    }
    const system = { Authorization: `Bearer ${sharedAgentToken}` };
    expect((await ask('GET', '', undefined, system)).status).toBe(200);
    expect((await ask('POST', '/x/revoke', undefined, system)).status).toBe(403);
  });
});

describe('/v1/agents/enrolments', () => {
  it('makes, lists and revokes tokens, showing each once', async () => {
    const made = await invite({ label: 'rack 7', tags: ['a'], maxUses: 3, ttlMs: 60_000 });
    expect(made.enrolmentToken).toMatch(/^ste_[\w-]{43}$/);
    const listed = await ask<{ items: { id: string }[] }>('GET', '/enrolments?limit=1');
    expect(listed.body.items).toEqual([
      expect.objectContaining({ id: made.id, label: 'rack 7', maxUses: 3, usedCount: 0 }),
    ]);
    expect(JSON.stringify(listed.body)).not.toContain('ste_');
    expect((await ask('DELETE', `/enrolments/${made.id}`)).status).toBe(204);
    expect((await ask('DELETE', `/enrolments/${made.id}`)).status).toBe(204);
    const refused = await ask('POST', '/enrol', { enrolmentToken: made.enrolmentToken, hostname: 'x' }, {});
    expect(refused.body).toMatchObject({ code: 'enrolment_token_invalid' });
    expect((await ask('DELETE', '/enrolments/0198c0de-0000-7000-8000-000000000000')).status).toBe(404);
    expect((await ask('DELETE', '/enrolments/none')).status).toBe(422);
  });

  it('refuses to repeat a secret for the same Idempotency-Key', async () => {
    const headers = { ...admin, 'Idempotency-Key': 'invite-1' };
    expect((await ask('POST', '/enrolments', { maxUses: 2 }, headers)).status).toBe(201);
    const again = await ask('POST', '/enrolments', { tags: [], maxUses: 2 }, headers);
    expect(again).toMatchObject({ status: 409, body: { code: 'conflict' } });
    expect(JSON.stringify(again.body)).toContain('shown only once');
    const other = await ask('POST', '/enrolments', { maxUses: 3 }, headers);
    expect(other).toMatchObject({ status: 422, body: { code: 'idempotency_conflict' } });
  });
});
