/** Agents with an address against real rows and a real listener: what is asked, how often, and what the rows say after. */
import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { actRequestSchema } from '../../contracts/commands.ts';
import { createTaskBodySchema } from '../../contracts/tasks.ts';
import { listAgents } from '../../db/agents.ts';
import { claimUrlCommand } from '../../db/command-claims.ts';
import { findCommand } from '../../db/commands.ts';
import { createDatabase, type Db, execute, query, queryOne } from '../../db/database.ts';
import { findDelegation, writeReport } from '../../db/delegations.ts';
import { findTask, updateTask } from '../../db/tasks.ts';
import { findUrlAgent, noteUrlFailure } from '../../db/url-agents.ts';
import { sweepPresence } from '../../domain/agents/presence.ts';
import { revokeAgent } from '../../domain/agents/registry.ts';
import { runCommands } from '../../domain/commands/run.ts';
import type { Actor } from '../../domain/deps.ts';
import { resealSecrets } from '../../domain/reseal-secrets.ts';
import { createSecretBox } from '../../domain/secret-box.ts';
import { createTask } from '../../domain/tasks/create.ts';
import { readAnswer } from '../../domain/url-agents/call.ts';
import { delegateTask, sendDelegation } from '../../domain/url-agents/delegate.ts';
import { type UrlAgentDeps, urlTokenName } from '../../domain/url-agents/deps.ts';
import { probeSilent } from '../../domain/url-agents/probe.ts';
import { createUrlAgents } from '../../domain/url-agents/propose.ts';
import { registerUrlAgent } from '../../domain/url-agents/register.ts';
import { resolveOrRegister } from '../../domain/url-agents/resolve.ts';
import { runOnUrlAgent } from '../../domain/url-agents/run-command.ts';
import { createOutbound } from '../../outbound/outbound.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { createTestDomain } from '../worker/deps.ts';

const admin: Actor = {
  principal: { kind: 'user', id: 'admin-1', name: 'ada', roles: ['admin'], sessionId: null },
  address: null,
  requestId: null,
};
const keyOf = (word: string) => createHash('sha256').update(word).digest('base64url');
const never = new AbortController().signal;

let database: TestDatabase;
let db: Db;
let deps: UrlAgentDeps;
let server: Server;
let url: string;
/** What the agent was asked, without probes. */
let asked: { path: string; headers: IncomingMessage['headers']; body: string }[];
let answer: (response: ServerResponse) => void;

beforeAll(async () => {
  database = await createTestDatabase();
  db = createDatabase({ url: database.url, poolMax: 6, applicationName: 'url-agents-test' });
  deps = {
    ...createTestDomain(db),
    secrets: createSecretBox([keyOf('first')]),
    agentUrls: createOutbound({ allow: ['127.0.0.1'], allowsPublic: false, listName: 'AGENT_URL_ALLOW' }),
  };
});
afterAll(async () => {
  await db.destroy();
  await database.drop();
});
beforeEach(async () => {
  asked = [];
  answer = (response) => response.end('{"status":"success","data":{"output":"done\\n","exit_code":0}}');
  server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      if (request.method === 'GET') return response.end('{}');
      asked.push({
        path: request.url ?? '',
        headers: request.headers,
        body: Buffer.concat(chunks).toString('utf8'),
      });
      answer(response);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterEach(async () => {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
  await db.raw('truncate agents, agent_presence, batches, commands, outbox, events, audit_events cascade');
});

const register = (wish: { name?: string; token?: string } = {}, actor = admin) =>
  registerUrlAgent(deps, { actor }, { name: 'addressed', url, role: 'worker', ...wish });

async function queue(agentId: string, act: object = { command: 'echo hi' }): Promise<string> {
  const body = { agentIds: [agentId], act: actRequestSchema.parse(act) };
  const { batchId } = await runCommands(deps, admin, body as never, null);
  const row = await queryOne<{ id: string }>(
    db,
    'select command_id as id from commands where batch_id = cast(:batchId as uuid)',
    { batchId },
  );
  return row?.id ?? '';
}

describe('a command', () => {
  it('rings for a delivery by our own worker', async () => {
    const { agentId } = await register();
    const commandId = await queue(agentId);
    const bells = await query<{ kind: string; payload: unknown }>(db, 'select kind, payload from outbox', {});
    expect(bells).toMatchObject([{ kind: 'start_delivery', payload: { input: { commandId, byUrl: true } } }]);
  });

  it('ends with what the agent says', async () => {
    const { agentId } = await register({ token: 'let-me-in' });
    const commandId = await queue(agentId);
    expect(await runOnUrlAgent(deps, commandId, never)).toEqual({ refused: null });
    expect(await findCommand(db, commandId)).toMatchObject({
      state: 'succeeded',
      exitCode: 0,
      stdout: { bytes: 5, truncated: false },
    });
    expect(asked).toMatchObject([
      {
        path: '/step/execute',
        headers: { authorization: 'Bearer let-me-in', 'idempotency-key': commandId },
        body: '{"command":"echo hi","timeout":30}',
      },
    ]);
    // Asked for again, it is not asked again.
    expect(await runOnUrlAgent(deps, commandId, never)).toEqual({ refused: 'succeeded' });
    expect(asked).toHaveLength(1);
  });

  it('is unknown where whoever asked died in between, and not asked again', async () => {
    const { agentId } = await register();
    const commandId = await queue(agentId);
    const journal = '00000000-0000-4000-8000-000000000000';
    expect((await claimUrlCommand(db, commandId, journal)).commands).toHaveLength(1);
    expect(await runOnUrlAgent(deps, commandId, never)).toEqual({ refused: 'interrupted' });
    expect(await findCommand(db, commandId)).toMatchObject({ state: 'unknown' });
    expect(asked).toEqual([]);
  });

  it('of two that ask at once only one does', async () => {
    const { agentId } = await register();
    const commandId = await queue(agentId);
    const claims = await Promise.all(
      Array.from({ length: 4 }, () => claimUrlCommand(db, commandId, crypto.randomUUID())),
    );
    expect(claims.filter(({ commands }) => commands.length === 1)).toHaveLength(1);
  });

  it('says more than can be handed on: nothing leaves', async () => {
    const { agentId } = await register();
    for (const act of [{ argv: ['ls'] }, { command: 'ls', workingDirectory: '/tmp' }]) {
      const commandId = await queue(agentId, act);
      await runOnUrlAgent(deps, commandId, never);
      expect(await findCommand(db, commandId)).toMatchObject({
        state: 'rejected',
        reason: 'url_agent: only plain shell commands can be handed on',
      });
    }
    expect(asked).toEqual([]);
  });

  it.each([
    ['a refusal', 403, '{"message":"forbidden"}', 'rejected'],
    ['a redirect', 302, '', 'rejected'],
    ['its own fault', 500, '', 'unknown'],
    ['late', 504, '{}', 'unknown'],
    ['no JSON', 200, 'hello', 'unknown'],
    ['no result', 200, '{"status":"success","data":{"output":"x"}}', 'unknown'],
    [
      'an unknown outcome',
      200,
      '{"data":{"exit_code":-1,"outcome":"unknown"},"status":"success"}',
      'unknown',
    ],
    ['a timeout', 200, '{"exit_code":-1,"outcome":"timed_out","output":"a"}', 'timed_out'],
    ['a failure', 200, '{"exit_code":3,"output":"a"}', 'failed'],
  ])('answered by %s', async (_what, status, body, state) => {
    const { agentId } = await register();
    answer = (response) => response.writeHead(status, { location: `${url}/elsewhere` }).end(body);
    const commandId = await queue(agentId);
    await runOnUrlAgent(deps, commandId, never);
    expect(await findCommand(db, commandId)).toMatchObject({ state });
    expect(asked).toHaveLength(1);
  });

  it('waits while its agent is to take nothing new', async () => {
    const { agentId } = await register();
    const commandId = await queue(agentId);
    await execute(db, 'update agents set drain_requested_at = now()', {});
    await expect(runOnUrlAgent(deps, commandId, never)).rejects.toMatchObject({
      code: 'service_unavailable',
    });
    await execute(db, 'update agents set drain_requested_at = null', {});
    await runOnUrlAgent(deps, commandId, never);
    expect(await findCommand(db, commandId)).toMatchObject({ state: 'succeeded' });
  });

  it('of an answer of megabytes keeps what the cap leaves', async () => {
    const { agentId } = await register();
    answer = (response) => response.end(JSON.stringify({ exit_code: 0, output: 'é'.repeat(500_000) }));
    const commandId = await queue(agentId, { command: 'big', outputCapBytes: 70_001 });
    await runOnUrlAgent(deps, commandId, never);
    expect(await findCommand(db, commandId)).toMatchObject({
      state: 'succeeded',
      stdout: { bytes: 70_001, totalBytes: 1_000_000, truncated: true },
    });
  });
});

describe('the registry', () => {
  it('keeps one agent for an address, whoever registers it, and a token that is sealed', async () => {
    const first = await register({ token: 'secret-of-the-agent' });
    const again = await register({ name: 'renamed' });
    expect(again).toEqual({ agentId: first.agentId, isNew: false, agentToken: null });
    const row = await findUrlAgent(db, first.agentId);
    expect(row).toMatchObject({ name: 'renamed', url });
    expect(row?.sealedToken).not.toContain('secret');
    expect(deps.secrets.open(urlTokenName(first.agentId), row?.sealedToken ?? '')).toBe(
      'secret-of-the-agent',
    );
    const secrets = createSecretBox([keyOf('second'), keyOf('first')]);
    expect(await resealSecrets({ ...deps, secrets })).toMatchObject({ resealed: 1 });
    const resealed = await findUrlAgent(db, first.agentId);
    expect(
      createSecretBox([keyOf('second')]).open(urlTokenName(first.agentId), resealed?.sealedToken ?? ''),
    ).toBe('secret-of-the-agent');
  });

  it('registers one address at once many times as one agent', async () => {
    const made = await Promise.all(Array.from({ length: 5 }, () => register()));
    expect(new Set(made.map(({ agentId }) => agentId)).size).toBe(1);
    expect(made.filter(({ isNew }) => isNew)).toHaveLength(1);
  });

  it('takes no address from an agent that got it while another one was looked for there', async () => {
    await db('agents').insert({ id: 'late', hostname: 'late' });
    const late: Actor = {
      ...admin,
      principal: { kind: 'agent', id: 'late', name: 'late', roles: ['agent'], sessionId: null },
    };
    let first: Promise<unknown> | undefined;
    const request: UrlAgentDeps['agentUrls']['request'] = async (wanted) => {
      first ??= register({ name: 'first' });
      await first;
      return deps.agentUrls.request(wanted);
    };
    const looking = { ...deps, agentUrls: { ...deps.agentUrls, request } };
    const registering = registerUrlAgent(looking, { actor: late }, { name: 'late', url, role: 'worker' });
    await expect(registering).rejects.toMatchObject({ code: 'agent_exists' });
    const [row] = await query<{ name: string }>(
      db,
      'select a.hostname as name from url_agents u join agents a on a.id = u.agent_id',
      {},
    );
    expect(row).toEqual({ name: 'first' });
  });

  it('gives the address of a revoked agent to another one', async () => {
    const first = await register();
    await revokeAgent(deps, admin, first.agentId);
    const second = await register();
    expect(second.isNew).toBe(true);
    expect(second.agentId).not.toBe(first.agentId);
  });

  it('calls an agent offline after 300 s, and not when it is found', async () => {
    const { agentId } = await register();
    const statusOf = async () =>
      (await listAgents(db, {}, { after: undefined, limit: 10 })).find(({ id }) => id === agentId)?.status;
    const silentFor = (seconds: number) =>
      execute(
        db,
        `update agent_presence set last_seen_at = now() - make_interval(secs => :seconds),
                heartbeat_at = now() - make_interval(secs => :seconds)`,
        { seconds },
      );
    expect(await statusOf()).toBe('online');
    await silentFor(250);
    await sweepPresence(deps);
    expect(await statusOf()).toBe('online');
    expect(await probeSilent(deps, never)).toBe(1);
    await silentFor(301);
    expect(await statusOf()).toBe('offline');
    expect(await sweepPresence(deps)).toBe(1);
    expect(await probeSilent(deps, never)).toBe(1);
    expect(await statusOf()).toBe('online');
    const events = await query<{ type: string }>(db, `select type from events order by id`, {});
    expect(events.map(({ type }) => type)).toEqual([
      'agent.enrolled',
      'agent.online',
      'agent.offline',
      'agent.online',
    ]);
  });
});

it('finds who is there among many that are not', async () => {
  const { agentId } = await register();
  await execute(db, `update agent_presence set last_seen_at = now() - interval '250 seconds'`, {});
  // Nobody listens there.
  await execute(
    db,
    `with dead as (insert into agents (id, hostname, delivery)
       select 'dead-' || n, 'dead-' || n, 'url' from generate_series(1, 40) n returning id),
     addressed as (insert into url_agents (agent_id, url, role)
       select id, 'http://127.0.0.1:1/' || id, 'worker' from dead)
     insert into agent_presence (agent_id, is_online, last_seen_at, heartbeat_at)
       select id, false, now() - interval '1 day', now() - interval '1 day' from dead`,
    {},
  );
  expect(await probeSilent(deps, never)).toBe(1);
  const seen = await query<{ id: string }>(
    db,
    `select agent_id as id from agent_presence where last_seen_at > now() - interval '1 minute'`,
    {},
  );
  expect(seen).toEqual([{ id: agentId }]);
});

it('an address that two name at once for the first time is one agent', async () => {
  const ids = await Promise.all(
    Array.from({ length: 4 }, () => resolveOrRegister(deps, admin, `${url}/new`)),
  );
  expect(new Set(ids).size).toBe(1);
  expect(await findUrlAgent(db, ids[0] ?? '')).toMatchObject({ url: `${url}/new` });
});

it('an address in other letters is the agent that is known there, which keeps its name', async () => {
  const { agentId } = await register({ name: 'builder' });
  expect(await resolveOrRegister(deps, admin, url.replace('http', 'HTTP'))).toBe(agentId);
  expect(await findUrlAgent(db, agentId)).toMatchObject({ name: 'builder' });
});

describe('a part that is handed on', () => {
  async function handOn() {
    const { agentId } = await register();
    const body = createTaskBodySchema.parse({ goal: 'the whole', mode: 'manual' });
    const { task } = await createTask(deps, admin, body, { idempotencyKey: null });
    const wish = { agentId, description: 'a part', priority: 'medium', publicUrl: 'http://hub.test' };
    return delegateTask(deps, admin, task.id, wish, null);
  }

  it('ends its sending whatever characters the other side answers with', async () => {
    const taken = await handOn();
    answer = (response) => response.end(String.raw`{"id":"x","no\u0000te":["a\u0000b","half \ud83d"]}`);
    await sendDelegation(deps, taken.taskId, never);
    expect(await findDelegation(db, taken.taskId)).toMatchObject({
      state: 'accepted',
      response: { id: 'x', 'no\ufffdte': ['a\ufffdb', 'half \ufffd'] },
    });
    const refused = await handOn();
    answer = (response) => {
      response.statusCode = 400;
      response.end(String.raw`{"message":"no\u0000 \ud83d"}`);
    };
    await sendDelegation(deps, refused.taskId, never);
    expect(await findDelegation(db, refused.taskId)).toMatchObject({
      state: 'failed',
      failure: 'it said 400: no\ufffd \ufffd',
    });
    expect(await findTask(db, refused.taskId)).toMatchObject({ state: 'failed' });
  });

  it('ends its sending where the answer is a nest that nobody could write again', async () => {
    const { taskId } = await handOn();
    answer = (response) => response.end(`{"deep":${'['.repeat(50_000)}${']'.repeat(50_000)}}`);
    await sendDelegation(deps, taskId, never);
    expect(await findDelegation(db, taskId)).toMatchObject({ state: 'accepted' });
  });

  it('is nobody told of once it has ended', async () => {
    const { taskId } = await handOn();
    await execute(db, `update tasks set state = 'canceled', ended_at = now() where id = :taskId`, { taskId });
    await sendDelegation(deps, taskId, never);
    expect(asked).toEqual([]);
    expect(await findDelegation(db, taskId)).toMatchObject({
      state: 'failed',
      failure: 'the part has ended',
    });
    expect(await findTask(db, taskId)).toMatchObject({ state: 'canceled' });
  });

  it('is taken where its agent reports of it, although the answer was lost', async () => {
    const running = await handOn();
    answer = (response) => {
      response.statusCode = 502;
      void writeReport(db, running.taskId, {
        status: 'in_progress',
        lastOutput: null,
        lastExitCode: null,
      }).then(() => response.end());
    };
    await sendDelegation(deps, running.taskId, never);
    expect(await findDelegation(db, running.taskId)).toMatchObject({ state: 'accepted', failure: null });
    expect(await findTask(db, running.taskId)).toMatchObject({ endedAt: null });
    const ended = await handOn();
    await writeReport(db, ended.taskId, { status: 'completed', lastOutput: null, lastExitCode: 0 });
    await execute(db, `update tasks set state = 'completed', ended_at = now() where id = :taskId`, {
      taskId: ended.taskId,
    });
    await sendDelegation(deps, ended.taskId, never);
    expect(await findDelegation(db, ended.taskId)).toMatchObject({ state: 'accepted', failure: null });
  });

  it('keeps the state that it has come to meanwhile', async () => {
    const { taskId } = await handOn();
    await updateTask(db, taskId, { state: 'awaiting_decision' });
    await sendDelegation(deps, taskId, never);
    expect(await findDelegation(db, taskId)).toMatchObject({ state: 'accepted' });
    expect(await findTask(db, taskId)).toMatchObject({ state: 'awaiting_decision' });
  });
});

it('a proposal with characters that no row can hold is one without them', async () => {
  const { agentId } = await register();
  const body = createTaskBodySchema.parse({ goal: 'x', mode: 'manual', target: { agentId } });
  const { task } = await createTask(deps, admin, body, { idempotencyKey: null, publicId: 'asked-for' });
  const row = await queryOne<{ id: string }>(db, 'select id from tasks where public_id = :id', {
    id: task.id,
  });
  const asking = await findTask(db, row?.id ?? '');
  if (asking === undefined) throw new Error('the task is missing');
  answer = (response) =>
    response.end(
      String.raw`{"command":null,"tool_calls":[{"name":"a\u0000"}],"comparisons":{"m":{"error":"\ud83d"}}}`,
    );
  expect(await createUrlAgents(deps).propose(agentId, asking, undefined, never)).toMatchObject({
    answer: { toolCalls: [{ name: 'a\ufffd' }], comparisons: { m: { error: '\ufffd' } } },
  });
});

it('failures at the same time are all counted', async () => {
  const { agentId } = await register();
  const limits = { failure: 'x', threshold: 20, openMs: 60_000 };
  await Promise.all(Array.from({ length: 20 }, () => noteUrlFailure(db, agentId, limits)));
  expect(await findUrlAgent(db, agentId)).toMatchObject({ failureStreak: 20, openUntil: expect.any(Date) });
});

it('envelopes are opened, four deep at most', () => {
  const deep = (levels: number): object =>
    levels === 0 ? { exit_code: 0 } : { status: 'success', data: deep(levels - 1) };
  const read = (body: object) =>
    readAnswer({
      kind: 'answered',
      status: 200,
      headers: {},
      body: Buffer.from(JSON.stringify(body)),
      isCut: false,
      durationMs: 1,
    });
  for (const levels of [0, 1, 4])
    expect(read(deep(levels))).toEqual({ kind: 'answered', data: { exit_code: 0 } });
  expect(read(deep(5))).toEqual({ kind: 'answered', data: { status: 'success', data: { exit_code: 0 } } });
});
