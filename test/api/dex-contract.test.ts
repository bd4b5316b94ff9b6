/**
 * Every row of the dex contract, walked as a client does: with and without the last slash, the status, the keys that
 * clients read, and the refusal of strangers. The agents are real: one of this project, one of dialect B. What the bodies
 * mean is tested beside each resource.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { connectLegacyAgent, type LegacyAgent, legacyScripts } from '../support/legacy-agent.ts';
import { type LlmStub, startLlmStub } from '../support/llm-stub.ts';
import { type System, startSystem } from '../support/system.ts';

const AGENT_TOKEN = 'shared-agent-token-of-the-contract';
const OWN = 'contract-own';
const LEGACY = 'contract-legacy';
const AWAY = 'contract-away';

let stub: LlmStub;
let system: System;
let legacy: LegacyAgent;

beforeAll(async () => {
  stub = await startLlmStub();
  system = await startSystem({
    worker: false,
    env: {
      AGENT_TOKEN,
      ANTHROPIC_BASE_URL: stub.url,
      ANTHROPIC_API_KEY: 'test-key',
      ANTHROPIC_MODEL: 'claude-sonnet-test',
    },
  });
  await system.startAgent({ agentId: OWN });
  await system.startAgent({ agentId: 'local' });
  await system.enrol(AWAY);
  await newSetting();
  legacy = await connectDialectB();
});
afterAll(async () => {
  await legacy?.close();
  await system.close();
  await stub.close();
});

/** Registers by the shared token and answers whatever it is told to run. */
async function connectDialectB(): Promise<LegacyAgent> {
  const script = legacyScripts.find(({ name }) => name === 'B');
  if (script === undefined) throw new Error('no dialect B');
  const agent = await connectLegacyAgent(system.url, script.path(LEGACY), {
    authorization: `Bearer ${AGENT_TOKEN}`,
  });
  agent.onFrame((frame) => {
    if (frame.type !== script.commandType) return;
    const { id, command } = script.commandOf(frame);
    agent.send(script.result(id, { output: `ran ${String(command)}`, success: true, code: 0 }));
  });
  agent.send(script.register(LEGACY, { tags: ['dialect-b'] }));
  await system.until(
    async () => (await system.request<Body>('GET', `/api/v1/agents/${LEGACY}`)).body,
    (seen) => seen.is_connected === true,
    'the agent of dialect B',
  );
  return agent;
}

type Body = Record<string, unknown>;

interface Row {
  method: 'GET' | 'POST' | 'PUT' | 'DELETE';
  /** Names what stands in braces. */
  path: string;
  /** What stands there, made anew for each request. */
  at?: () => Promise<string>;
  body?: unknown;
  status?: number;
  /** Keys of the answer, or of each item of a list. */
  keys?: readonly string[];
  /** Members as they must be. */
  like?: Body;
  isPublic?: boolean;
  isZip?: boolean;
  /** Before each request. */
  given?: () => void;
}

const agentKeys = [
  ...['id', 'hostname', 'ip', 'os', 'version', 'status', 'last_seen', 'tags', 'system_info'],
  ...['connection_id', 'is_connected'],
];
const responseKeys = ['success', 'output', 'error', 'execution_time', 'timestamp', 'command'];
const executedKeys = ['success', 'command_id', 'agent_id', 'output', 'error', 'exit_code', 'execution_time'];
const sentKeys = ['message', 'command_id', 'agent_id', 'status'];
const savedKeys = [
  ...['id', 'name', 'command', 'description', 'category', 'parameters', 'tags', 'version', 'author'],
  ...['is_system', 'created_at', 'updated_at'],
];
const settingKeys = ['key', 'value', 'description', 'is_encrypted', 'created_at', 'updated_at'];
const userKeys = ['id', 'username', 'email', 'full_name', 'is_active', 'created_at', 'last_login'];

/** With a field that a client of another version sends: it is read over. */
const command = { command: 'echo hi', timeout: 20, client_hint: 'of-another-version' };
const installer = {
  server_url: 'https://hub.example',
  api_token: 'x',
  tags: [],
  auto_start: true,
  run_as_service: true,
};

let counter = 0;
const next = (): string => `contract-${++counter}`;
const newAgent = async () => (await system.enrol(next())).agentId;
const newSaved = async () => {
  const saved = await system.call<{ id: string }>('POST', '/api/v1/commands/saved', {
    ...{ name: next(), command: 'echo $what', description: 'd', tags: ['t'] },
    parameters: [
      { name: 'what', type: 'string', default: 'x', description: 'that is said', required: false },
    ],
  });
  return saved.id;
};
const newSetting = async () => {
  const key = next();
  await system.call('POST', '/api/v1/settings', { key, value: 'v', is_encrypted: false });
  return key;
};
const newCommand = async () => {
  const sent = await system.call<{ command_id: string }>(
    ...(['POST', `/api/v1/commands/agent/${LEGACY}/execute`, command] as const),
  );
  return sent.command_id;
};
/** The stored result of a command that has ended. */
const isDone = { status: 'completed' };

const rows: readonly Row[] = [
  { method: 'GET', path: '/api/v1/system/health', isPublic: true, keys: ['status', 'service'] },
  {
    method: 'GET',
    path: '/api/v1/system/info',
    keys: ['hostname', 'os_version', 'cpu_usage', 'memory_usage', 'disk_usage', 'version'],
  },
  {
    method: 'POST',
    path: '/api/v1/auth/login',
    body: { username: 'admin', password: 'Correct-Horse-7' },
    isPublic: true,
    keys: ['access_token', 'token_type', 'expires_in', 'user'],
    like: { token_type: 'bearer', expires_in: 8 * 3600, user: { id: expect.any(String), username: 'admin' } },
  },
  { method: 'GET', path: '/api/v1/auth/me', keys: userKeys, like: { id: expect.any(String) } },
  { method: 'GET', path: '/api/v1/agents', keys: agentKeys },
  { method: 'GET', path: '/api/v1/agents/connected', keys: agentKeys, like: { is_connected: true } },
  { method: 'GET', path: '/api/v1/agents/offline', keys: agentKeys, like: { status: 'offline' } },
  { method: 'GET', path: `/api/v1/agents/${LEGACY}`, keys: agentKeys, like: { tags: ['dialect-b'] } },
  {
    method: 'PUT',
    path: '/api/v1/agents/{id}',
    at: newAgent,
    body: { tags: ['new'] },
    keys: agentKeys,
    like: { tags: ['new'] },
  },
  {
    method: 'DELETE',
    path: '/api/v1/agents/{id}',
    at: newAgent,
    like: { message: 'Agent deleted successfully' },
  },
  {
    method: 'POST',
    path: '/api/v1/agents/register',
    body: { hostname: 'contract-host', tags: ['a'] },
    keys: agentKeys,
    like: { hostname: 'contract-host', tags: ['a'] },
  },
  {
    method: 'POST',
    path: `/api/v1/agents/${LEGACY}/command`,
    body: { ...command, run_as_admin: false },
    keys: responseKeys,
    like: { success: true, output: 'ran echo hi', error: null, command: 'echo hi' },
  },
  { method: 'GET', path: `/api/v1/agents/${LEGACY}/commands`, keys: responseKeys },
  {
    method: 'POST',
    path: `/api/v1/agents/${OWN}/refresh`,
    keys: ['message', 'agent'],
    like: { agent: expect.objectContaining({ id: OWN }) },
  },
  {
    method: 'POST',
    path: `/api/v1/agents/${LEGACY}/heartbeat`,
    keys: ['message', 'agent', 'timestamp'],
    like: { message: 'Heartbeat received' },
  },
  {
    method: 'GET',
    path: `/api/v1/agents/status/${LEGACY}`,
    keys: [
      ...['agent_id', 'overall_status', 'websocket_connected', 'heartbeat_status'],
      ...['seconds_since_heartbeat', 'last_seen', 'agent_data'],
    ],
    like: { overall_status: 'online', websocket_connected: true, heartbeat_status: 'recent' },
  },
  { method: 'POST', path: '/api/v1/agents/seed', keys: agentKeys },
  {
    method: 'POST',
    path: '/api/v1/commands/execute',
    body: command,
    keys: responseKeys,
    like: { output: 'hi\n' },
  },
  {
    method: 'POST',
    path: '/api/v1/commands/execute/batch',
    body: [command],
    keys: responseKeys,
    like: { output: 'hi\n' },
  },
  {
    method: 'POST',
    path: `/api/v1/commands/agent/${LEGACY}/execute`,
    body: command,
    keys: executedKeys,
    like: { success: true, agent_id: LEGACY, output: 'ran echo hi', exit_code: 0, ...isDone },
  },
  {
    method: 'POST',
    path: `/api/v1/commands/agent/${LEGACY}/execute/async`,
    body: command,
    keys: sentKeys,
    like: { message: 'Command sent to agent successfully', agent_id: LEGACY, status: 'sent' },
  },
  {
    method: 'GET',
    path: `/api/v1/commands/agent/${LEGACY}/result/{id}`,
    at: newCommand,
    like: {
      ...isDone,
      agent_id: LEGACY,
      result: expect.objectContaining({ success: true, output: 'ran echo hi', return_code: 0 }),
    },
  },
  { method: 'GET', path: '/api/v1/commands/saved', keys: savedKeys },
  {
    method: 'POST',
    path: '/api/v1/commands/saved',
    body: { name: 'contract', command: 'echo $n', parameters: [{ name: 'n', type: 'string' }], tags: [] },
    status: 201,
    keys: savedKeys,
    like: { category: 'general', version: '1.0', is_system: false },
  },
  { method: 'GET', path: '/api/v1/commands/saved/{id}', at: newSaved, keys: savedKeys },
  {
    method: 'PUT',
    path: '/api/v1/commands/saved/{id}',
    at: newSaved,
    body: { description: 'changed' },
    keys: savedKeys,
    like: { description: 'changed', tags: ['t'] },
  },
  {
    method: 'DELETE',
    path: '/api/v1/commands/saved/{id}',
    at: newSaved,
    like: { message: 'Command deleted successfully' },
  },
  {
    method: 'POST',
    path: '/api/v1/commands/saved/{id}/execute',
    at: newSaved,
    body: { agent_ids: [LEGACY, AWAY], parameters: { what: 'me' }, timeout: 30 },
    keys: ['command_id', 'command_name', 'executed_command', 'results'],
    like: {
      results: [
        expect.objectContaining({ agent_id: LEGACY, status: 'sent', command_id: expect.any(String) }),
        { agent_id: AWAY, success: false, error: 'Agent not connected' },
      ],
    },
  },
  {
    method: 'POST',
    path: '/api/v1/commands/ai/generate',
    body: { message: 'list', conversation_history: [] },
    given: () =>
      stub.enqueue({
        type: 'tool-input',
        name: 'suggest_command',
        input: { command: 'Get-Process', name: 'n', description: 'd', explanation: 'e' },
      }),
    keys: [
      ...['success', 'command_data', 'raw_response'],
      ...['command', 'explanation', 'safety_level', 'estimated_execution_time'],
    ],
    like: { success: true, command: 'Get-Process' },
  },
  {
    method: 'POST',
    path: '/api/v1/commands/ai/test',
    body: { ...command, agent_id: LEGACY },
    given: () => stub.enqueue({ type: 'text', text: 'It said hi.' }),
    keys: ['success', 'command_id', 'result'],
    like: { success: true, result: expect.objectContaining({ output: 'ran echo hi' }) },
  },
  {
    method: 'GET',
    path: '/api/v1/commands/ai/status',
    keys: ['available', 'message'],
    like: { available: true },
  },
  { method: 'GET', path: '/api/v1/settings', keys: settingKeys },
  {
    method: 'POST',
    path: '/api/v1/settings',
    body: { key: 'contract_api_key', value: 'secret', description: 'd', is_encrypted: true },
    keys: settingKeys,
    like: { key: 'contract_api_key', value: '*'.repeat(20), is_encrypted: true },
  },
  {
    method: 'PUT',
    path: '/api/v1/settings',
    body: { openai_api_key: 'test-key' },
    keys: ['message'],
  },
  { method: 'GET', path: '/api/v1/settings/{key}', at: newSetting, keys: settingKeys, like: { value: 'v' } },
  {
    method: 'DELETE',
    path: '/api/v1/settings/{key}',
    at: newSetting,
    like: { message: 'Setting deleted successfully' },
  },
  {
    method: 'GET',
    path: '/api/v1/settings/chatgpt/config',
    keys: ['api_key', 'model', 'max_tokens', 'temperature', 'system_prompt'],
    like: { api_key: '*'.repeat(20) },
  },
  {
    method: 'POST',
    path: '/api/v1/settings/chatgpt/config',
    body: { api_key: 'test-key', model: 'claude-sonnet-test', max_tokens: 1000, temperature: 0.1 },
    keys: ['message'],
  },
  {
    method: 'POST',
    path: '/api/v1/settings/chatgpt/test',
    // The stub takes no question without instructions; a provider that answers is in dex-settings.test.ts.
    status: 400,
    keys: ['success', 'error', 'code', 'details', 'detail'],
    like: { success: false },
  },
  {
    method: 'POST',
    path: '/api/v1/settings/reload-ai-service',
    keys: ['success', 'available', 'message'],
    like: { success: true, available: true },
  },
  {
    method: 'GET',
    path: '/api/v1/installer/config',
    keys: ['server_url', 'api_token', 'agent_name', 'tags', 'auto_start', 'run_as_service'],
  },
  { method: 'POST', path: '/api/v1/installer/create', body: installer, isZip: true },
  { method: 'POST', path: '/api/v1/installer/create-python', isZip: true },
  ...['/api/v1', '/websocket'].flatMap((at): Row[] => [
    {
      method: 'POST',
      path: `${at}/send/${LEGACY}/command`,
      body: { ...command, working_directory: 'C:\\' },
      keys: ['message', 'agent_id', 'command_id'],
    },
    {
      method: 'GET',
      path: `${at}/connected`,
      keys: ['connected_agents', 'count'],
      like: { connected_agents: expect.arrayContaining([LEGACY, OWN]) },
    },
  ]),
];

async function ask({ method, path, at, body, given }: Row, slash: string, token: string | null) {
  given?.();
  const place = at === undefined ? path : path.replace(/\{\w+\}/, token === null ? 'any' : await at());
  return fetch(`${system.url}${place}${slash}`, {
    method,
    // A redirect would turn a POST into a GET, or drop the credential.
    redirect: 'error',
    headers: {
      ...(token === null ? {} : { authorization: `Bearer ${token}` }),
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
}

describe.each(rows)('$method $path', (row) => {
  it.each(['', '/'])('answers as the contract says, with "%s" at the end', async (slash) => {
    const reply = await ask(row, slash, system.token());
    if (row.isZip) {
      expect([reply.status, reply.headers.get('content-type')]).toEqual([200, 'application/zip']);
      expect(
        Buffer.from(await reply.arrayBuffer())
          .subarray(0, 2)
          .toString(),
      ).toBe('PK');
      return;
    }
    const body: unknown = await reply.json();
    expect(reply.status, JSON.stringify(body)).toBe(row.status ?? 200);
    const items: unknown[] = Array.isArray(body) ? body : [body];
    expect(items.length).toBeGreaterThan(0);
    for (const item of items) {
      expect(Object.keys(item ?? {})).toEqual(expect.arrayContaining([...(row.keys ?? [])]));
      expect(item).toMatchObject(row.like ?? {});
    }
  });

  it.runIf(!row.isPublic)('is closed to strangers, in words that the family has for it', async () => {
    const reply = await ask(row, '', null);
    expect(reply.status).toBe(401);
    const said = row.path.startsWith('/api/v1/auth') ? 'Not authenticated' : 'Authorization header required';
    expect(await reply.json()).toMatchObject({ code: 'UNAUTHORIZED', detail: said });
  });
});

describe('details that clients rely on', () => {
  const post = (path: string, body?: unknown) => system.request<Body>('POST', `/api/v1${path}`, body);

  it.each([
    ['/commands/execute', { command: '' }],
    [`/commands/agent/${LEGACY}/execute`, { command: '' }],
    [`/send/${LEGACY}/command`, { command: '' }],
    ['/commands/saved', { name: 'x', command: '' }],
    ['/settings', { key: '', value: 'x' }],
    ['/commands/ai/generate', { message: '' }],
    ['/commands/ai/generate', { prompt: '' }],
    ['/commands/ai/generate', {}],
  ] as const)('POST %s with %j is 422 with a list', async (path, body) => {
    const reply = await post(path, body);
    expect([reply.status, reply.body.code]).toEqual([422, 'VALIDATION_ERROR']);
    expect(reply.body.detail).toEqual([
      expect.objectContaining({ loc: expect.arrayContaining(['body']), msg: expect.any(String) }),
    ]);
  });

  it('ai/test without a body, and with an empty one, is 400', async () => {
    expect((await post('/commands/ai/test')).status).toBe(400);
    expect((await post('/commands/ai/test', {})).status).toBe(400);
  });

  it('a saved command that was deleted is 404, for every verb', async () => {
    const path = `/api/v1/commands/saved/${await newSaved()}`;
    await system.call('DELETE', path);
    for (const [method, body] of [['GET'], ['PUT', {}], ['DELETE']] as const) {
      expect((await system.request(method, path, body)).status, method).toBe(404);
    }
    expect((await system.request('POST', `${path}/execute`, { agent_ids: [OWN] })).status).toBe(404);
  });

  it('what a client has read it may send back', async () => {
    const saved = await system.call<Body>('GET', `/api/v1/commands/saved/${await newSaved()}`);
    const path = `/api/v1/commands/saved/${String(saved.id)}`;
    expect(await system.call('PUT', path, saved)).toMatchObject({ ...saved, updated_at: expect.any(String) });
    const agent = await system.call<Body>('GET', `/api/v1/agents/${AWAY}`);
    expect(await system.call('PUT', `/api/v1/agents/${AWAY}`, agent)).toEqual(agent);
  });

  it('a timeout above the limit is told in seconds, as it was given', async () => {
    const reply = await post(`/commands/agent/${LEGACY}/execute`, { command: 'x', timeout: 301 });
    expect(reply).toMatchObject({ status: 422, body: { detail: [{ loc: ['body', 'timeout'] }] } });
    expect(JSON.stringify(reply.body.detail)).toContain('(300 s)');
  });

  it('a command that goes on is in the history as such, and not as timed out', async () => {
    const path = `/commands/agent/${AWAY}/execute/async?queue=true`;
    const { command_id: id } = (await post(path, { command: 'true' })).body;
    const history = await system.call<Body[]>('GET', `/api/v1/agents/${AWAY}/commands`);
    expect(history[0]).toMatchObject({
      ...{ command_id: id, success: false, output: '', error: 'Command waits for the agent' },
      outcome: 'queued',
    });
  });

  it('a user has a string for an id, everywhere', async () => {
    const { id } = await system.call<{ id: unknown }>('GET', '/api/v1/auth/me');
    const login = await post('/auth/login', { username: 'admin', password: 'Correct-Horse-7' });
    expect(login.body.user).toMatchObject({ id });
    expect(typeof id).toBe('string');
  });

  it('logging out answers the words of the contract, and ends the session', async () => {
    const login = await post('/auth/login', { username: 'admin', password: 'Correct-Horse-7' });
    const token = String(login.body.access_token);
    const logout = () => system.request('POST', '/api/v1/auth/logout', undefined, { token });
    expect(await logout()).toMatchObject({ status: 200, body: { message: 'Successfully logged out' } });
    expect((await logout()).status).toBe(401);
  });
});
