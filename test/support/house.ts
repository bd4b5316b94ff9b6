/**
 * The house API on real Postgres and real sockets, without Temporal: what the workflow would do is done by calling its
 * domain functions, and agents are played by their ledger functions.
 */
import { randomUUID } from 'node:crypto';
import { createAuthenticate } from '../../api/authenticate.ts';
import { createHub, type Hub } from '../../api/events/hub.ts';
import { createSessionWatch } from '../../api/events/session-watch.ts';
import { createOpenStreams } from '../../api/open-streams.ts';
import { anantaTaskRoutes } from '../../api/routes/ananta/tasks.ts';
import { commandRoutes } from '../../api/routes/v1/commands.ts';
import { eventRoutes, eventUpgradeRoute } from '../../api/routes/v1/events.ts';
import { taskRoutes } from '../../api/routes/v1/tasks.ts';
import type { StreamName } from '../../contracts/agent-protocol.ts';
import { roles } from '../../contracts/principal.ts';
import type { TaskView } from '../../contracts/tasks.ts';
import type { ProposeOutcome } from '../../contracts/workflow-io.ts';
import { lockConnection, takeConnection } from '../../db/agent-connections.ts';
import { findCommand } from '../../db/commands.ts';
import type { EventRow } from '../../db/events.ts';
import { claimQueued } from '../../domain/commands/claim.ts';
import { type Ack, recordReports } from '../../domain/commands/record.ts';
import type { LedgerFrame } from '../../domain/commands/report.ts';
import type { IdentityDeps } from '../../domain/identity/deps.ts';
import { recheckPrincipals } from '../../domain/identity/live-principals.ts';
import { login } from '../../domain/identity/login.ts';
import { can } from '../../domain/policy.ts';
import { proposeStep } from '../../domain/tasks/engine.ts';
import type { LlmPort, ProposeAnswer, ProposedCommand, ProposedEnd } from '../../llm/port.ts';
import { createOutbound } from '../../outbound/outbound.ts';
import { sendJson, startTestServer, type TestServer } from './http.ts';
import { adminPassword, type IdentityStack, startIdentity, testOrigin } from './identity.ts';

export interface Answer<Body> {
  status: number;
  headers: Headers;
  body: Body;
}

export interface House {
  deps: IdentityDeps;
  db: IdentityStack['db'];
  hub: Hub;
  server: TestServer;
  /** Events announced after commits, oldest first. */
  events: EventRow[];
  /** JSON request; `as` is `<role>:<name>` (default `admin:ada`) or an access token. */
  ask<Body = Record<string, unknown>>(
    method: string,
    path: string,
    body?: unknown,
    options?: { as?: string | null; headers?: Record<string, string> },
  ): Promise<Answer<Body>>;
  /** A real session of the administrator. */
  login(): Promise<{ accessToken: string; sessionId: string }>;
  addAgent(
    id?: string,
    facts?: { shells?: string[]; defaultShell?: string; tags?: string[] },
  ): Promise<string>;
  createTask(wish?: object, as?: string): Promise<TaskView>;
  /** What the workflow does for a step: ask the (scripted) model. */
  propose(
    taskId: string,
    step: number,
    answer?: Partial<ProposedCommand> | ProposedEnd,
  ): Promise<ProposeOutcome>;
  /** Connect as this agent; returns its hands. */
  connect(agentId: string): Promise<TestAgent>;
  close(): Promise<void>;
}

export interface TestAgent {
  agentId: string;
  /** Claim what waits for it. */
  claim(): Promise<string[]>;
  start(commandId: string): Promise<void>;
  write(commandId: string, stream: StreamName, bytes: Buffer): Promise<void>;
  finish(commandId: string, facts?: { exitCode?: number }): Promise<Ack[]>;
}

const OUTPUT_CAP_BYTES = 16 * 1024 * 1024;
const usage = { model: 'scripted', inputTokens: 3, outputTokens: 2, costUsd: 0.001, mock: true };

export async function startHouse(): Promise<House> {
  const stack = await startIdentity();
  const errors: unknown[] = [];
  const hub = createHub({ db: stack.db, onError: (error) => errors.push(error) });
  await hub.ready;
  const deps: IdentityDeps = {
    ...stack.deps,
    limits: { defaultTimeoutMs: 30_000, maxTimeoutMs: 300_000, outputCapBytes: OUTPUT_CAP_BYTES },
    announce: {
      ...stack.deps.announce,
      events(rows) {
        stack.events.push(...rows);
        hub.offer(rows);
      },
      output: (commandIds) => hub.offerOutput(commandIds),
    },
  };
  const stopping = new AbortController();
  const authenticateSession = createAuthenticate(deps);
  const authenticate: typeof authenticateSession = async (request) => {
    const token = request.headers.authorization?.replace(/^Bearer /, '') ?? request.query.get('token') ?? '';
    const [roleName, name] = token.split(':');
    const role = roles.find((each) => each === roleName);
    if (role === undefined || name === undefined) return authenticateSession(request);
    const kind = role === 'agent' || role === 'system' ? role : 'user';
    return { kind, id: name, name, roles: [role], sessionId: null };
  };
  const agentUrls = createOutbound({ allow: [], allowsPublic: false, listName: 'AGENT_URL_ALLOW' });
  const routeDeps = { ...deps, hub, agentUrls };
  const sessions = createSessionWatch({
    hub,
    log: deps.log,
    recheck: (principals) => recheckPrincipals(deps, principals),
  });
  const streams = createOpenStreams();
  const server = await startTestServer({
    sessions,
    streams,
    routes: [
      ...taskRoutes(routeDeps),
      ...commandRoutes(routeDeps),
      ...eventRoutes(routeDeps),
      ...anantaTaskRoutes(routeDeps),
    ],
    upgrades: [
      eventUpgradeRoute({ ...routeDeps, authenticate, sessions, streams, shutdown: stopping.signal }),
    ],
    authenticate,
    can,
  });

  const ask: House['ask'] = async (method, path, body, { as = 'admin:ada', headers = {} } = {}) => {
    const all = { ...(as === null ? {} : { Authorization: `Bearer ${as}` }), ...headers };
    const init = body === undefined ? { headers: all } : sendJson(body, all);
    const response = await server.fetch(path, { ...init, method });
    const text = await response.text();
    return {
      status: response.status,
      headers: response.headers,
      body: text === '' ? undefined : JSON.parse(text),
    };
  };

  return {
    deps,
    db: stack.db,
    hub,
    server,
    events: stack.events,
    ask,
    async login() {
      const opened = await login(deps, testOrigin, {
        login: 'admin',
        password: adminPassword,
        family: 'house',
      });
      const payload = opened.accessToken.split('.')[1] ?? '';
      const { sid } = JSON.parse(Buffer.from(payload, 'base64url').toString());
      return { accessToken: opened.accessToken, sessionId: sid };
    },
    async addAgent(id = `agent-${randomUUID()}`, facts = {}) {
      const { shells = ['sh', 'bash'], defaultShell = 'sh', tags = [] } = facts;
      await stack
        .db('agents')
        .insert({ id, hostname: id, os: 'linux', shells, default_shell: defaultShell, tags });
      return id;
    },
    async createTask(wish = {}, as = 'admin:ada') {
      const made = await ask<TaskView>('POST', '/v1/tasks', { goal: 'count the files', ...wish }, { as });
      if (made.status !== 201) throw new Error(`task not created: ${JSON.stringify(made.body)}`);
      return made.body;
    },
    async propose(taskId, step, answer = {}) {
      const { id, run_no: runNo } = await stack
        .db('tasks')
        .first('id', 'run_no')
        .where({ public_id: taskId });
      return proposeStep(
        { ...deps, llm: scriptedModel(answer) },
        { taskId: id, runNo, step },
        new AbortController().signal,
      );
    },
    connect: (agentId) => connectTestAgent(deps, agentId),
    async close() {
      stopping.abort();
      await server.close({ deadlineMs: 1_000 });
      await hub.close();
      await stack.close();
      if (errors.length > 0) throw new Error('the hub reported errors', { cause: errors[0] });
    },
  };
}

function scriptedModel(answer: Partial<ProposedCommand> | ProposedEnd): LlmPort {
  const command: ProposedCommand = {
    kind: 'command',
    command: 'ls -l',
    shell: null,
    reason: 'look first',
    expectedEffect: 'none',
    usage,
  };
  const full: ProposeAnswer = answer.kind === 'done' ? answer : { ...command, ...answer };
  return { name: 'scripted', isMock: true, propose: async () => full };
}

export const done = (success: boolean, summary: string): ProposedEnd => ({
  kind: 'done',
  success,
  summary,
  usage,
});

async function connectTestAgent(deps: IdentityDeps, agentId: string): Promise<TestAgent> {
  const journalId = randomUUID();
  const epoch = await deps.db.transaction(async (trx) => {
    const next = (await lockConnection(trx, agentId)).epoch + 1;
    await takeConnection(trx, { agentId, epoch: next, journalId, journalSeq: 0, bridgeId: randomUUID() });
    return next;
  });
  const report = (frame: LedgerFrame) => recordReports(deps, [{ agentId, journalId, frame }]);
  const rowOf = async (commandId: string) => {
    const row = await findCommand(deps.db, commandId);
    if (row === undefined) throw new Error(`no command ${commandId}`);
    return row;
  };
  return {
    agentId,
    claim: async () => (await claimQueued(deps, [{ agentId, epoch }])).map((row) => row.commandId),
    async start(commandId) {
      const { digest } = await rowOf(commandId);
      await report({ type: 'started', commandId, digest, pid: 1, startedAt: new Date().toISOString() });
    },
    async write(commandId, stream, bytes) {
      const row = await rowOf(commandId);
      const chunks = Math.ceil(bytes.length / CHUNK_BYTES);
      await recordReports(
        deps,
        Array.from({ length: chunks }, (_, index) => {
          const at = index * CHUNK_BYTES;
          const part = bytes.subarray(at, at + CHUNK_BYTES).toString('base64');
          const offset = row[stream].bytes + at;
          return { agentId, journalId, frame: { type: 'output', commandId, stream, offset, bytes: part } };
        }),
      );
    },
    async finish(commandId, { exitCode = 0 } = {}) {
      const row = await rowOf(commandId);
      const summary = (stream: StreamName) => ({
        bytes: row[stream].bytes,
        totalBytes: row[stream].bytes,
        sha256: 'e'.repeat(64),
        truncated: false,
      });
      return report({
        type: 'result',
        commandId,
        digest: row.digest,
        outcome: exitCode === 0 ? 'succeeded' : 'failed',
        exitCode,
        signal: null,
        reason: null,
        startedAt: null,
        finishedAt: null,
        durationMs: 12,
        stdout: summary('stdout'),
        stderr: summary('stderr'),
      });
    },
  };
}

const CHUNK_BYTES = 64 * 1024;
