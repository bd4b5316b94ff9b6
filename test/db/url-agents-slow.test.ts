/** An agent with an address that takes the question and answers after the deadline, against a real listener. */
import { createHash } from 'node:crypto';
import { createServer, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createTaskBodySchema } from '../../contracts/tasks.ts';
import { createDatabase, type Db } from '../../db/database.ts';
import { findTask, type TaskRow } from '../../db/tasks.ts';
import { findUrlAgent } from '../../db/url-agents.ts';
import type { Actor } from '../../domain/deps.ts';
import { createSecretBox } from '../../domain/secret-box.ts';
import { createTask } from '../../domain/tasks/create.ts';
import { CIRCUIT_FAILURES } from '../../domain/url-agents/call.ts';
import type { UrlAgentDeps } from '../../domain/url-agents/deps.ts';
import { createUrlAgents } from '../../domain/url-agents/propose.ts';
import { registerUrlAgent } from '../../domain/url-agents/register.ts';
import { createOutbound } from '../../outbound/outbound.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { createTestDomain } from '../worker/deps.ts';

const admin: Actor = {
  principal: { kind: 'user', id: 'admin-1', name: 'ada', roles: ['admin'], sessionId: null },
  address: null,
  requestId: null,
};
const never = new AbortController().signal;
/** Long for a listener that answers at once, and short for a test. */
const HURRIED_MS = 300;
const PATIENT_MS = 20_000;

let database: TestDatabase;
let db: Db;
let deps: UrlAgentDeps;
let server: Server;
let agentId: string;
let task: TaskRow;
const open: ServerResponse[] = [];
let isHolding = true;
const proposal = JSON.stringify({ status: 'success', data: { reason: 'r', command: 'echo proposed' } });

beforeAll(async () => {
  database = await createTestDatabase();
  db = createDatabase({ url: database.url, poolMax: 6, applicationName: 'url-agents-slow-test' });
  deps = {
    ...createTestDomain(db),
    secrets: createSecretBox([createHash('sha256').update('key').digest('base64url')]),
    agentUrls: createOutbound({ allow: ['127.0.0.1'], allowsPublic: false, listName: 'AGENT_URL_ALLOW' }),
  };
  server = createServer((request, response) => {
    request.resume();
    request.on('end', () => {
      if (request.method === 'GET') response.end('{}');
      else if (isHolding) open.push(response);
      else response.end(proposal);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  ({ agentId } = await registerUrlAgent(deps, { actor: admin }, { name: 'slow', url, role: 'worker' }));
  const body = createTaskBodySchema.parse({ goal: 'x', mode: 'manual', target: { agentId } });
  const { task: made } = await createTask(deps, admin, body, { idempotencyKey: null, publicId: 'asked' });
  expect(made.id).toBe('asked');
  const row = await db('tasks').where({ public_id: 'asked' }).first<{ id: string }>('id');
  const found = await findTask(db, row?.id ?? '');
  if (found === undefined) throw new Error('no task');
  task = found;
});
afterAll(async () => {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
  await db.destroy();
  await database.drop();
});

const propose = (timeoutMs: number) =>
  createUrlAgents(deps, timeoutMs).propose(agentId, task, undefined, never);
const streak = async () => (await findUrlAgent(db, agentId))?.failureStreak;

it('is a failure with its reason, which the circuit counts; what it says late is nobody’s', async () => {
  for (let failures = 1; failures <= CIRCUIT_FAILURES; failures++) {
    expect(await propose(HURRIED_MS)).toEqual({
      kind: 'other',
      answer: { kind: 'failed', reason: 'no complete answer in time' },
    });
    expect(await streak()).toBe(failures);
  }
  for (const response of open.splice(0)) response.end(proposal);
  // It is left alone.
  expect(await propose(PATIENT_MS)).toEqual({
    kind: 'other',
    answer: { kind: 'failed', reason: expect.stringContaining('circuit open') },
  });
  expect(await streak()).toBe(CIRCUIT_FAILURES);
  // Asked again after a while, and in time.
  await db('url_agents').update({ open_until: db.raw("now() - interval '1 second'") });
  isHolding = false;
  expect(await propose(PATIENT_MS)).toMatchObject({ kind: 'answer', answer: { command: 'echo proposed' } });
  expect(await streak()).toBe(0);
});
