/** Prompts as ananta's clients send them: to the model with tools, to programs on the server's machine, with context. */
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  type Reply,
  type RequestOptions,
  type System,
  startSystem,
  type TestAgent,
} from '../support/system.ts';
import { deskOf } from '../support/tasks.ts';

interface Envelope<Data> {
  status: string;
  message?: string;
  data: Data;
}
interface Call {
  name: string;
  args: Record<string, unknown>;
}
interface Generated {
  response: string;
  requires_confirmation?: boolean;
  thought?: string;
  tool_calls?: Call[];
  tool_results?: { tool: string; success: boolean; output: unknown; error: string | null }[];
  blocked_tools?: string[];
  blocked_reasons?: string[];
}
interface Answer {
  output: string;
  errors: string;
  backend: string;
  routing: Record<string, string>;
  context?: { chunk_count: number };
  command_id: string | null;
}

let system: System;
let agent: TestAgent;
let folder: string;
const tokens: Record<string, string> = {};

/** A program that shows its arguments and its input; `fail` in the prompt makes it fail. */
const program = `#!/bin/sh
input=$(cat)
case "$*" in *failplease*) echo "no luck" >&2; exit 3;; esac
case "$*" in *failsaying*) echo "half an answer"; exit 3;; esac
for each in "$@"; do printf '[%s]' "$each"; done
printf 'in=%s\\n' "$input"
echo "a warning" >&2
`;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'ananta-llm-'));
  const programs = join(folder, 'bin');
  const root = join(folder, 'root');
  mkdirSync(programs);
  mkdirSync(root);
  for (const name of ['sgpt', 'mistral-code']) {
    writeFileSync(join(programs, name), program);
    chmodSync(join(programs, name), 0o755);
  }
  writeFileSync(join(root, 'zebra.ts'), 'export function crossRoad() {\n  return "stripes";\n}\n');
  system = await startSystem({ worker: false, env: { LOCAL_AGENT_ID: 'the-server', CONTEXT_ROOT: root } });
  const desk = deskOf(system);
  for (const role of ['viewer', 'user', 'operator'] as const)
    tokens[role] = await desk.addUser(role, `the-${role}`);
  agent = await system.startAgent({
    agentId: 'the-server',
    environment: { ...process.env, PATH: `${programs}:${process.env.PATH}` },
  });
});
afterAll(async () => {
  await agent.close();
  await system.close();
  rmSync(folder, { recursive: true, force: true });
});

const post = <Data>(path: string, body?: unknown, options?: RequestOptions): Promise<Reply<Envelope<Data>>> =>
  system.request('POST', path, body, options);
const as = (role: string): RequestOptions => ({ token: tokens[role] ?? '' });
const generate = (body?: unknown, options?: RequestOptions) =>
  post<Generated>('/llm/generate', body, options);
const execute = (body?: unknown, options?: RequestOptions) =>
  post<Answer>('/api/sgpt/execute', body, options);
const teamNames = async (): Promise<string[]> =>
  (await system.call<Envelope<{ name: string }[]>>('GET', '/teams')).data.map(({ name }) => name);
const refusal = (reply: Reply<Envelope<unknown>>) => [reply.status, reply.body.message];

describe('/llm/generate', () => {
  it('answers a prompt with its history', async () => {
    const history = [
      { role: 'user', content: 'Hello' },
      { role: 'assistant', content: 'Hello.' },
    ];
    const reply = await generate({ prompt: 'How are you?', history, unknown: 1 }, as('user'));
    expect(reply.status).toBe(200);
    expect(reply.body).toEqual({
      status: 'success',
      data: { response: expect.stringMatching(/^\[mock model\].*"How are you\?"$/) },
    });
    expect(refusal(await generate({}))).toEqual([400, 'Missing prompt']);
    expect(refusal(await generate(undefined))).toEqual([400, 'Missing prompt']);
    expect((await generate({ prompt: 'x', history: 'y' })).status).toBe(422);
    expect((await generate({ prompt: 'x' }, as('viewer'))).status).toBe(403);
  });

  it('takes providers of this installation alone', async () => {
    const unknown = await generate({
      prompt: 'x',
      config: { provider: 'ollama', base_url: 'http://10.0.0.1' },
    });
    expect(refusal(unknown)).toEqual([400, 'Unknown provider: ollama']);
    const own = await generate({
      prompt: 'x',
      config: { provider: 'mock:some', model: 'mock:other', api_key: 'k' },
    });
    expect(own.status).toBe(200);
  });

  it('lets tools run only when an administrator has confirmed them', async () => {
    const prompt = 'call create_team {"name":"Crew","team_type":"Kanban"}';
    const asked = await generate({ prompt, confirm_tool_calls: true });
    const { response = '', tool_calls: calls = [], ...rest } = asked.body.data;
    expect(rest).toEqual({ requires_confirmation: true, thought: response });
    expect(calls).toEqual([{ name: 'create_team', args: { name: 'Crew', team_type: 'Kanban' } }]);
    expect(await teamNames()).toEqual([]);

    const again = await generate({ prompt, tool_calls: calls });
    expect(again.body.data).toMatchObject({ requires_confirmation: true, tool_calls: calls });
    expect(await teamNames()).toEqual([]);

    const confirmed = { prompt, tool_calls: calls, confirm_tool_calls: true };
    for (const role of ['user', 'operator'] as const)
      expect(refusal(await generate(confirmed, as(role)))).toEqual([403, 'forbidden']);
    // Nor are they offered any.
    expect((await generate({ prompt }, as('operator'))).body.data).not.toHaveProperty('tool_calls');

    const key = { headers: { 'Idempotency-Key': 'run-once' } };
    const ran = await generate(confirmed, key);
    expect(ran.body.data).toMatchObject({
      response: expect.stringContaining('[mock model]'),
      tool_results: [{ tool: 'create_team', success: true, error: null }],
      blocked_tools: [],
    });
    expect(await teamNames()).toEqual(['Crew']);
    expect((await generate(confirmed, key)).status).toBe(409);
    expect(await teamNames()).toEqual(['Crew']);
  });

  it('names what is no tool, and refuses more than the guardrails allow', async () => {
    const unknown = await generate({
      tool_calls: [{ name: 'reboot' }, { tool_name: 'list_roles' }],
      confirmed: true,
    });
    expect(unknown.body.data.blocked_tools).toEqual(['reboot']);
    expect(unknown.body.data.tool_results?.map(({ success }) => success)).toEqual([false, true]);
    const calls = Array.from({ length: 6 }, () => ({ name: 'list_agents', args: {} }));
    const many = await generate({ tool_calls: calls, confirm_tool_calls: true, stream: true });
    expect(refusal(many)).toEqual([400, 'tool_guardrail_blocked']);
    expect(many.body.data).toMatchObject({
      blocked_tools: ['list_agents'],
      blocked_reasons: ['guardrail_max_tool_calls_exceeded'],
    });
  });

  it('streams pieces, what is to be confirmed or came of tools, and the end', async () => {
    const stream = async (body: object): Promise<string[]> => {
      const reply = await fetch(`${system.url}/llm/generate`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', authorization: `Bearer ${system.token()}` },
        body: JSON.stringify({ ...body, stream: true }),
      });
      expect(reply.headers.get('content-type')).toMatch(/^text\/event-stream/);
      return (await reply.text()).split('\n\n').filter((frame) => frame !== '');
    };
    const said = await stream({ prompt: 'Two words' });
    expect(said.at(-1)).toBe('event: done\ndata: [DONE]');
    const pieces = said.slice(0, -1).map((frame) => frame.replace(/^data: /, ''));
    expect(pieces.length).toBeGreaterThan(5);
    expect(pieces.join('')).toMatch(/^\[mock model\].*"Two words"$/);

    const asked = await stream({ prompt: 'call list_roles' });
    expect(asked.at(-2)).toMatch(/^event: confirmation\ndata: \{"requires_confirmation":true,.*"list_roles"/);
    const ran = await stream({ tool_calls: [{ name: 'list_roles' }], confirm_tool_calls: true });
    expect(ran.at(-2)).toMatch(
      /^event: tool_results\ndata: \{"tool_results":\[\{"tool":"list_roles","success":true/,
    );
    expect(ran.at(-1)).toBe('event: done\ndata: [DONE]');
  });
});

describe('/api/sgpt', () => {
  it('says which programs there are', async () => {
    const { data } = await system.call<Envelope<Record<string, never>>>(
      'GET',
      '/api/sgpt/backends',
      undefined,
      as('viewer'),
    );
    expect(data).toMatchObject({
      configured_backend: 'auto',
      supported_backends: {
        sgpt: {
          display_name: 'ShellGPT',
          supports_model: true,
          supported_flags: expect.arrayContaining(['--shell']),
        },
        aider: { supported_flags: [] },
      },
      runtime: {
        sgpt: { binary_available: true, binary_path: 'sgpt', health_score: 100, cooldown_active: false },
        mistral_code: { binary_available: true },
        opencode: { binary_available: false, binary_path: null, health_score: 20 },
        aider: { binary_available: false },
      },
      fallback: { backend: 'model', provider: 'mock', mock: true },
    });
    expect((await system.request('GET', '/api/sgpt/backends', undefined, as('user'))).status).toBe(403);
  });

  it('runs a program through the ledger, the prompt as one argument that no shell reads', async () => {
    const prompt = '--list $(id) `id` "x"\nsecond line';
    const body = { prompt, backend: 'SGPT', options: ['--md'], model: 'gpt-x', task_kind: 'ops' };
    const key = { ...as('operator'), headers: { 'Idempotency-Key': 'prompt-1' } };
    const reply = await execute(body, key);
    expect(reply.body.data).toMatchObject({
      output: `[--no-interaction][--md][--model][gpt-x][ ${prompt}]in=\n`,
      errors: 'a warning\n',
      backend: 'sgpt',
      routing: {
        policy_version: 'v2',
        task_kind: 'ops',
        requested_backend: 'sgpt',
        effective_backend: 'sgpt',
        reason: 'explicit_backend:sgpt',
      },
    });
    const { command_id: id } = reply.body.data;
    const command = await system.call<Record<string, unknown>>('GET', `/v1/commands/${id}`);
    expect(command).toMatchObject({ agentId: 'the-server', state: 'succeeded', mode: 'argv' });
    expect((await execute(body, key)).body.data).toMatchObject({ command_id: id, errors: 'a warning\n' });
    expect((await execute({ prompt: 'Grüße', backend: 'mistral_code' })).body.data.output).toBe('in=Grüße\n');
  });

  it('falls back to the model of the installation', async () => {
    const own = await execute({ prompt: 'hello' }, as('user'));
    expect(own.body.data).toMatchObject({
      output: expect.stringMatching(/^\[mock model\].*"hello"$/),
      backend: 'model',
      command_id: null,
      routing: { requested_backend: 'auto', reason: 'no_backend_available:model' },
    });
    expect((await execute({ prompt: 'hello', backend: 'auto' })).body.data.backend).toBe('sgpt');
    expect((await execute({ prompt: 'hello', backend: 'sgpt' }, as('user'))).status).toBe(403);
  });

  it('refuses what does not fit in the words clients know', async () => {
    expect(refusal(await execute({}))).toEqual([400, 'Missing prompt']);
    expect(refusal(await execute({ prompt: 'x', options: '--shell' }))).toEqual([
      400,
      'Options must be a list',
    ]);
    expect(refusal(await execute({ prompt: 'x', options: [1] }))).toEqual([
      400,
      'options must contain only strings',
    ]);
    expect(refusal(await execute({ prompt: 'x', backend: 'bash' }))).toEqual([
      400,
      "Invalid backend. Allowed: ['aider', 'auto', 'mistral_code', 'opencode', 'sgpt']",
    ]);
    expect(refusal(await execute({ prompt: 'x', backend: 'aider', options: ['--x'] }))).toEqual([
      400,
      "Unsupported options for backend 'aider': ['--x']",
    ]);
    expect(refusal(await execute({ prompt: 'x', model: '--yes' }))).toEqual([
      400,
      'model is no name of a model',
    ]);
    const missing = await execute({ prompt: 'x', backend: 'aider' });
    expect(missing.status).toBe(503);
    expect((await execute({ prompt: 'x\u0007', backend: 'sgpt' })).status).toBe(422);
  });

  it('takes the configuration for requests that name nothing', async () => {
    await system.call('POST', '/config', {
      sgpt_routing: { task_kind_backend: { doc: 'mistral_code' }, policy_version: 'v9' },
    });
    const doc = await execute({ prompt: 'explain it' });
    expect(doc.body.data.routing).toMatchObject({
      policy_version: 'v9',
      reason: 'task_kind_policy:doc->mistral_code',
    });
    await system.call('POST', '/config', { sgpt_execution_backend: 'sgpt', sgpt_routing: null });
    expect((await execute({ prompt: 'explain it' })).body.data.routing.requested_backend).toBe('sgpt');
    await system.call('POST', '/config', { sgpt_execution_backend: null });
  });

  it('finds context and gives it to the question', async () => {
    const found = await post<Record<string, unknown>>(
      '/api/sgpt/context',
      { query: 'who may crossRoad?' },
      as('viewer'),
    );
    expect(found.body.data).toMatchObject({
      query: 'who may crossRoad?',
      strategy: { name: 'lexical', semantic: false, files_searched: 1, partial: false },
      chunks: [{ engine: 'repository_map', source: 'zebra.ts', metadata: { start_line: 1, end_line: 4 } }],
      context_text: expect.stringContaining('stripes'),
    });
    const bare = await post('/api/sgpt/context', { query: 'zebra', include_context_text: false });
    expect(bare.body.data).not.toHaveProperty('context_text');
    expect(refusal(await post('/api/sgpt/context', {}))).toEqual([400, 'Missing query']);

    const answer = await execute({ prompt: 'who may crossRoad?', backend: 'sgpt', use_hybrid_context: true });
    expect(answer.body.data.context).toMatchObject({ chunk_count: 1, policy_version: 'lexical-1' });
    expect(answer.body.data.output).toContain('stripes');
    for (const path of ['/api/sgpt/context', '/api/sgpt/source'])
      expect((await post(path, { query: 'zebra', source_path: 'zebra.ts' }, as('user'))).status).toBe(403);
    expect((await execute({ prompt: 'x', use_hybrid_context: true }, as('user'))).status).toBe(403);
  });

  it('shows the beginning of a file of the folder, and of no other', async () => {
    const shown = await post('/api/sgpt/source', { source_path: 'zebra.ts', max_chars: 1 }, as('viewer'));
    expect(shown.body.data).toEqual({
      source_path: 'zebra.ts',
      preview: 'export function crossRoad() {\n  return "stripes";\n}\n',
      truncated: false,
      line_count: 4,
    });
    for (const path of ['../bin/sgpt', '/etc/passwd', '../../x.md', '.env'])
      expect(refusal(await post('/api/sgpt/source', { source_path: path }))).toEqual([
        400,
        'Invalid source_path',
      ]);
    expect(refusal(await post('/api/sgpt/source', {}))).toEqual([400, 'Missing source_path']);
    expect((await post('/api/sgpt/source', { source_path: 'lion.ts' })).status).toBe(404);
  });

  // The last: it leaves the program alone for a minute.
  it('tells why a program failed, and leaves alone what fails again and again', async () => {
    expect((await execute({ prompt: 'failsaying', backend: 'sgpt' })).body.data.output).toBe(
      'half an answer\n',
    );
    for (let i = 0; i < 5; i++)
      expect(refusal(await execute({ prompt: 'failplease', backend: 'sgpt' }))).toEqual([500, 'no luck']);
    const open = await execute({ prompt: 'hello', backend: 'sgpt' });
    expect(open.status).toBe(503);
    expect((await execute({ prompt: 'hello' })).body.data.backend).toBe('mistral_code');
    const { data } = await system.call<Envelope<{ runtime: Record<string, object> }>>(
      'GET',
      '/api/sgpt/backends',
    );
    expect(data.runtime.sgpt).toMatchObject({
      cooldown_active: true,
      consecutive_failures: 5,
      last_error: 'no luck',
    });
  });
});
