/** Every route of the running server × every kind of caller: who is let in is what the policy says, nothing else. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type AppDeps, allRoutes } from '../../api/app.ts';
import { createRoutes } from '../../api/routes/index.ts';
import { type Principal, type Role, roles } from '../../contracts/principal.ts';
import { pathParameters, type RouteContract } from '../../contracts/route.ts';
import { sealAudit } from '../../domain/audit/seal.ts';
import { verifySeals } from '../../domain/audit/verify.ts';
import { can } from '../../domain/policy.ts';
import { type System, startSystem } from '../support/system.ts';
import { deskOf } from '../support/tasks.ts';

const AGENT_TOKEN = 'the-shared-agent-token-of-this-test';
const NOBODYS_ID = '01890000-0000-7000-8000-000000000000';

let system: System;
const tokens = new Map<Role, string>();
/** Ends the session that asks. */
const endingRoutes = ['POST /v1/auth/logout', 'POST /auth/logout', 'POST /api/v1/auth/logout'];

beforeAll(async () => {
  system = await startSystem({ worker: false, env: { AGENT_TOKEN } });
  const desk = deskOf(system);
  for (const role of ['viewer', 'user', 'operator', 'admin'] as const) {
    tokens.set(role, await desk.addUser(role, `the-${role}`));
  }
  tokens.set('system', AGENT_TOKEN);
  tokens.set('agent', (await system.enrol('the-agent')).agentToken);
});
afterAll(() => system.close());

/** The contracts of the real routes. Making routes touches no dependency, so none is needed. */
const contracts: RouteContract[] = (() => {
  const none = {} as never;
  const routes = createRoutes(none);
  const options = { name: 'x', title: 'x', version: '0', publicUrl: '/', description: '' };
  const deps = { routes, metrics: none, checks: {}, shutdown: none, options };
  return allRoutes(deps as unknown as AppDeps).map((route) => route.contract);
})();

const guarded = contracts.filter((contract) => contract.auth !== 'public');
const nameOf = (contract: RouteContract): string => `${contract.method} ${contract.path}`;

function principalOf(role: Role): Principal {
  const kind = role === 'agent' || role === 'system' ? role : 'user';
  return { kind, id: 'x', name: 'x', roles: [role], sessionId: null };
}

function isLetIn(contract: RouteContract, role: Role): boolean {
  if (contract.auth === 'public') return true;
  const principal = principalOf(role);
  const isExpected = ['any', principal.kind].includes(contract.auth) || principal.kind === 'system';
  return isExpected && can(principal, contract.verb, contract.resource);
}

/** Nobody's, but for agents, who may speak of themselves alone. */
const idFor = (name: string, token: string | null): string =>
  name === 'agentId' && token !== null && token === tokens.get('agent') ? 'the-agent' : NOBODYS_ID;

async function statusOf(contract: RouteContract, token: string | null): Promise<number> {
  const path = pathParameters(contract.path).reduce<string>(
    (text, name) => text.replace(`{${name}}`, name === 'stream' ? 'stdout' : idFor(name, token)),
    contract.path,
  );
  const abort = new AbortController();
  const response = await fetch(`${system.url}${path}`, {
    method: contract.method,
    signal: abort.signal,
    headers: {
      ...(token === null ? {} : { authorization: `Bearer ${token}` }),
      ...(contract.body ? { 'content-type': 'application/json' } : {}),
    },
    ...(contract.body ? { body: '{}' } : {}),
  });
  // Whoever rotates the shared token has replaced the one that the later tests go in with.
  if (response.ok && /\/(rotate-token|agent-token\/rotate)$/.test(path)) {
    const answer = (await response.json()) as { agentToken?: string; data?: { new_token: string } };
    tokens.set('system', answer.agentToken ?? answer.data?.new_token ?? '');
  }
  abort.abort();
  return response.status;
}

/** A token whose session a request may end. */
let spares = 0;
async function spareToken(role: Role): Promise<string | undefined> {
  if (role === 'system' || role === 'agent') return tokens.get(role);
  spares += 1;
  return deskOf(system).addUser(role, `spare-${spares}`);
}

it('the list below is what the server serves', async () => {
  const document = (await (await fetch(`${system.url}/openapi.json`)).json()) as {
    paths: Record<string, Record<string, unknown>>;
  };
  const served = Object.entries(document.paths).flatMap(([path, item]) =>
    Object.keys(item)
      .filter((key) => ['get', 'post', 'put', 'patch', 'delete'].includes(key))
      .map((method) => `${method.toUpperCase()} ${path}`),
  );
  expect(new Set(contracts.map(nameOf))).toEqual(new Set(served));
  expect(guarded.length).toBeGreaterThan(25);
});

it('what is public is known by name', () => {
  const open = contracts.filter(
    (contract) => contract.auth === 'public' && contract.rateClass !== 'unlimited',
  );
  expect(open.map(nameOf).sort()).toEqual([
    'POST /api/auth/login',
    'POST /api/auth/refresh-token',
    'POST /api/system/csp-report',
    // With a token in the body, or with somebody's rights.
    'POST /api/system/register',
    'POST /api/v1/auth/login',
    'POST /api/v1/auth/refresh',
    'POST /api/v1/auth/register',
    // To strangers it says no, whatever they ask.
    'POST /approve',
    'POST /auth/login',
    'POST /auth/refresh',
    'POST /login',
    'POST /refresh-token',
    'POST /register',
    'POST /v1/agents/enrol',
    'POST /v1/auth/login',
    'POST /v1/auth/refresh',
    'POST /v1/auth/register',
  ]);
});

describe.each(guarded.map((contract) => [nameOf(contract), contract] as const))('%s', (_name, contract) => {
  it('is closed to strangers', async () => {
    expect(await statusOf(contract, null)).toBe(401);
    expect(await statusOf(contract, 'sta_no-such-token')).toBe(401);
    expect(await statusOf(contract, 'no token at all')).toBe(401);
  });

  it.each(roles)('as %s: as the policy says', async (role) => {
    const token = endingRoutes.includes(nameOf(contract)) ? await spareToken(role) : tokens.get(role);
    const status = await statusOf(contract, token ?? '');
    if (isLetIn(contract, role)) expect([401, 403, 500]).not.toContain(status);
    else expect(status).toBe(403);
  });
});

it('an administrator who must change the password can do nothing else, in no dialect', async () => {
  const token = await deskOf(system).addUser('admin', 'forgetful');
  await system.api.parts.db('users').where({ username: 'forgetful' }).update({ must_change_password: true });
  const isOpen = ({ verb, resource }: RouteContract): boolean =>
    (resource === 'session' && (verb === 'read' || verb === 'delete')) ||
    (resource === 'password' && verb === 'update');
  const closed = guarded.filter((contract) => isLetIn(contract, 'admin') && !isOpen(contract));
  expect(closed.length).toBeGreaterThan(60);
  for (const contract of closed) {
    expect([nameOf(contract), await statusOf(contract, token)]).toEqual([nameOf(contract), 403]);
  }
  const open = guarded.filter((contract) => isOpen(contract) && !endingRoutes.includes(nameOf(contract)));
  for (const contract of open) {
    expect([401, 403, 500], nameOf(contract)).not.toContain(await statusOf(contract, token));
  }
});

it('the shared agent token decides, executes and reads nothing that only administrators may', async () => {
  const token = tokens.get('system') ?? '';
  for (const [method, path, body] of [
    ['POST', `/v1/tasks/${NOBODYS_ID}/decide`, {}],
    ['POST', `/v1/tasks/${NOBODYS_ID}/execute`, {}],
    ['POST', '/v1/commands', {}],
    ['POST', `/v1/commands/${NOBODYS_ID}/cancel`, {}],
    ['DELETE', `/v1/tasks/${NOBODYS_ID}`, undefined],
  ] as const) {
    expect((await system.request(method, path, body, { token })).status, path).toBe(403);
  }
  const preApproved = { goal: 'x', mode: 'auto', preApproved: ['id'] };
  expect((await system.request('POST', '/v1/tasks', preApproved, { token })).status).toBe(403);
});

it('refusals stand in the audit trail, not in any number, and the seals still hold', async () => {
  const { db } = system.api.parts;
  const token = await deskOf(system).addUser('viewer', 'curious');
  for (let i = 0; i < 30; i++) {
    expect((await system.request('POST', '/v1/commands', {}, { token })).status).toBe(403);
  }
  const rows = await db('audit_events').where({ action: 'access.denied', principal_name: 'curious' });
  expect(rows).toHaveLength(20);
  expect(rows[0]).toMatchObject({
    outcome: 'denied',
    principal_kind: 'user',
    target_kind: 'route',
    target_id: 'POST /v1/commands',
    address: expect.any(String),
    request_id: expect.any(String),
    details: { verb: 'execute', resource: 'command' },
  });
  // By what the handler found in the body.
  const other = await deskOf(system).addUser('user', 'greedy');
  const body = { goal: 'x', mode: 'auto', preApproved: ['id'] };
  expect((await system.request('POST', '/v1/tasks', body, { token: other })).status).toBe(403);
  expect(await db('audit_events').where({ action: 'access.denied', principal_name: 'greedy' })).toHaveLength(
    1,
  );
  await sealAudit(system.api.parts.domain);
  expect(await verifySeals(db)).toMatchObject({ ok: true });
});
