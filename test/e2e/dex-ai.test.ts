/** The AI routes of dex: the model is the stub that speaks the Messages protocol, the agent a real one. */
import { createHash } from 'node:crypto';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { type LlmStub, startLlmStub } from '../support/llm-stub.ts';
import { type System, startSystem } from '../support/system.ts';
import { deskOf } from '../support/tasks.ts';

let stub: LlmStub;
let system: System;
let user: string;
beforeAll(async () => {
  stub = await startLlmStub();
  const env = {
    ANTHROPIC_BASE_URL: stub.url,
    ANTHROPIC_API_KEY: 'test-key',
    ANTHROPIC_MODEL: 'claude-sonnet-test',
  };
  system = await startSystem({ worker: false, env });
  user = await deskOf(system).addUser('user', 'some-user');
  await system.startAgent({ agentId: 'linux-1' });
});
afterEach(() => stub.drop());
afterAll(async () => {
  await system.close();
  await stub.close();
  expect(stub.violations).toEqual([]);
});

const ask = async (path: string, body?: unknown, token?: string) => {
  const method = body === undefined ? 'GET' : 'POST';
  // biome-ignore lint/suspicious/noExplicitAny: each test looks at what it expects.
  return system.request<any>(method, `/api/v1/commands/ai${path}`, body, token ? { token } : {});
};
const suggest = (command: string, more: object = {}) =>
  stub.enqueue({
    type: 'tool-input',
    name: 'suggest_command',
    input: { command, name: 'A name', description: 'What it does', explanation: 'How it works', ...more },
  });
const audits = (action: string) => system.api.parts.db('audit_events').where({ action }).orderBy('id');
const lastCall = () => system.api.parts.db('llm_calls').orderBy('id', 'desc').first();

describe('generate', () => {
  it('answers the union of both shapes, labelled by us, counted and audited', async () => {
    const command = 'Get-Service | Where-Object Status -eq Running';
    suggest(command, { category: 'services', tags: ['windows'], estimated_execution_time: '1-3 seconds' });
    const { status, body } = await ask('/generate/', {
      message: 'all running services',
      conversation_history: [],
    });
    expect(status).toBe(200);
    expect(body).toEqual({
      success: true,
      command_data: {
        command,
        name: 'A name',
        description: 'What it does',
        category: 'services',
        parameters: [],
        tags: ['windows'],
        explanation: 'How it works',
        shell: 'powershell',
        safety_level: body.safety_level,
        safety_reasons: body.safety_reasons,
      },
      command,
      explanation: 'How it works',
      shell: 'powershell',
      safety_level: expect.stringMatching(/^(safe|caution)$/),
      safety_reasons: expect.any(Array),
      estimated_execution_time: '1-3 seconds',
      raw_response: expect.stringContaining('Get-Service'),
      model: 'claude-sonnet-test',
      cached: false,
    });
    expect(await lastCall()).toMatchObject({
      purpose: 'assist',
      input_tokens: 100,
      output_tokens: 20,
      outcome: 'ok',
    });
    expect((await audits('assistant.suggest')).at(-1)).toMatchObject({
      principal_name: 'admin',
      target_id: 'claude-sonnet-test',
      outcome: 'success',
      details: {
        model: 'claude-sonnet-test',
        inputTokens: 100,
        outputTokens: 20,
        costUsd: 0.0006,
        isCached: false,
        label: body.safety_level,
        commandSha256: createHash('sha256').update(command).digest('hex'),
      },
    });
  });

  it('takes no word of the model for the label', async () => {
    suggest('rm -rf /', { safety_level: 'safe', explanation: 'perfectly safe' });
    const { body } = await ask('/generate', { prompt: 'tidy up', agent_context: { shell: 'sh' } });
    expect(body).toMatchObject({
      shell: 'sh',
      safety_level: 'dangerous',
      command_data: { safety_level: 'dangerous' },
    });
    expect(body.safety_reasons.length).toBeGreaterThan(0);
  });

  it('gives the same user the same answer, and asks for another', async () => {
    const wish = { message: 'how long is it up?', conversation_history: [{ role: 'user', content: 'hi' }] };
    suggest('uptime');
    const first = await ask('/generate', wish);
    const asked = stub.requests.length;
    const again = await ask('/generate', wish);
    expect(again.body).toEqual({ ...first.body, cached: true });
    expect(stub.requests).toHaveLength(asked);
    expect((await audits('assistant.suggest')).at(-1).details).toMatchObject({ isCached: true, costUsd: 0 });

    suggest('uptime -p');
    expect((await ask('/generate', wish, user)).body).toMatchObject({ command: 'uptime -p', cached: false });
    suggest('uptime -s');
    const other = { ...wish, conversation_history: [] };
    expect((await ask('/generate', other)).body).toMatchObject({ command: 'uptime -s', cached: false });
  });

  it('writes for the agent: its system, and its shell where it has no PowerShell', async () => {
    suggest('uname -a');
    const { body } = await ask('/generate', { message: 'which kernel?', agent_id: 'linux-1' });
    const agent = await system.call<{ defaultShell: string; shells: string[] }>('GET', '/v1/agents/linux-1');
    expect(body.shell).toBe(agent.shells.includes('pwsh') ? 'pwsh' : agent.defaultShell);
    const content = stub.requests.at(-1)?.body.messages.at(-1)?.content ?? '';
    expect(content).toMatch(new RegExp(`^Shell: ${body.shell}\n<<<UNTRUSTED .*Linux.*which kernel\\?$`, 's'));
    expect(await ask('/generate', { message: 'x', agent_id: 'nobody' })).toMatchObject({
      status: 404,
      body: { success: false, code: 'AGENT_NOT_FOUND' },
    });
    expect((await ask('/generate', { message: 'x', agent_id: 'linux-1' }, user)).status).toBe(403);
  });

  it('takes the names of shells and the empty fields that clients send', async () => {
    for (const [shell, written] of [
      ['PowerShell', 'powershell'],
      ['BASH', 'bash'],
      ['fish', 'powershell'],
    ]) {
      suggest('hostname');
      const wish = { message: `name, from ${shell}`, agent_id: '', agent_context: { shell, user: 'x' } };
      expect(await ask('/generate', wish)).toMatchObject({ status: 200, body: { shell: written } });
    }
  });

  it('says so when the model answers in words, and does not take them for a command', async () => {
    stub.enqueue({ type: 'text', text: 'Which service?' });
    expect((await ask('/generate', { message: 'restart it' })).body).toMatchObject({
      success: false,
      command: null,
      command_data: null,
      explanation: 'Which service?',
      raw_response: 'Which service?',
      note: expect.any(String),
    });
  });

  it.each([{}, { message: '' }, { prompt: ' ' }, { message: null }])('refuses %j with 422', async (body) => {
    expect(await ask('/generate', body)).toMatchObject({
      status: 422,
      body: { success: false, code: 'VALIDATION_ERROR' },
    });
  });

  it('a model that fails is 503, charged and audited where it cost', async () => {
    stub.enqueue({ type: 'overloaded' });
    expect(await ask('/generate', { message: 'one' })).toMatchObject({
      status: 503,
      body: { success: false, code: 'AI_SERVICE_UNAVAILABLE' },
    });
    stub.enqueue({ type: 'max-tokens' });
    expect((await ask('/generate', { message: 'two' })).status).toBe(503);
    expect(await lastCall()).toMatchObject({
      purpose: 'assist',
      outcome: 'llm_bad_answer',
      input_tokens: 100,
    });
    expect((await audits('assistant.suggest')).at(-1)).toMatchObject({
      outcome: 'failed',
      details: { code: 'model_unavailable', inputTokens: 100, outputTokens: 20 },
    });
  });
});

describe('test', () => {
  it('runs the command and has its outcome explained', async () => {
    stub.enqueue({ type: 'text', text: 'It printed a greeting.' });
    const { status, body } = await ask('/test', {
      command: 'echo hello; echo oops >&2',
      agent_id: 'linux-1',
    });
    expect(status).toBe(200);
    expect(body).toMatchObject({
      success: true,
      agent_id: 'linux-1',
      status: 'completed',
      result: { success: true, output: 'hello\n', error: 'oops\n', exit_code: 0, return_code: 0 },
      analysis: 'It printed a greeting.',
      analysis_error: null,
    });
    expect(stub.requests.at(-1)?.body.messages[0]?.content).toMatch(
      /UNTRUSTED \w+ standard output>>>\nhello/,
    );
    expect((await audits('assistant.explain')).at(-1)).toMatchObject({
      target_kind: 'command',
      target_id: body.command_id,
      details: { inputTokens: 100, outputTokens: 20 },
    });
    expect(await system.call('GET', `/v1/commands/${body.command_id}`)).toMatchObject({ state: 'succeeded' });
  });

  it('tells a failure, and a result without its analysis when the model is away', async () => {
    stub.enqueue({ type: 'overloaded' });
    expect((await ask('/test', { command: 'exit 3', agent_id: 'linux-1' })).body).toMatchObject({
      success: false,
      status: 'completed',
      result: { success: false, exit_code: 3, outcome: 'failed' },
      analysis: null,
      analysis_error: expect.stringContaining('not available'),
    });
  });

  it('tells a timeout in the words of the family', async () => {
    stub.enqueue({ type: 'text', text: 'It ran too long.' });
    const { status, body } = await ask('/test', { command: 'sleep 30', agent_id: 'linux-1', timeout: 0.5 });
    expect([status, body]).toMatchObject([
      200,
      {
        success: false,
        status: 'timeout',
        message: 'Command timed out after 0.5 seconds',
        analysis: 'It ran too long.',
      },
    ]);
  });

  it('runs once for an Idempotency-Key', async () => {
    stub.enqueue({ type: 'text', text: 'First.' }, { type: 'text', text: 'Second.' });
    const options = { headers: { 'idempotency-key': 'ai-test-1' } };
    const body = { command: 'date +%s%N', agent_id: 'linux-1' };
    const send = () =>
      system.call<{ command_id: string; result: object }>('POST', '/api/v1/commands/ai/test', body, options);
    const first = await send();
    const again = await send();
    expect(again).toMatchObject({ command_id: first.command_id, result: first.result });
  });

  it('refuses what cannot run', async () => {
    expect(await ask('/test', {})).toMatchObject({ status: 400, body: { success: false } });
    expect((await ask('/test', { command: ' ', agent_id: 'linux-1' })).status).toBe(400);
    expect(await ask('/test', { command: 'true', agent_id: 'nobody' })).toMatchObject({ status: 404 });
    await system.enrol('deleted');
    await system.call('DELETE', '/api/v1/agents/deleted');
    expect(await ask('/test', { command: 'true', agent_id: 'deleted' })).toMatchObject({
      status: 404,
      body: { success: false, code: 'AGENT_NOT_FOUND', error: 'Agent not found' },
    });
    await system.enrol('sleeper');
    expect(await ask('/test', { command: 'true', agent_id: 'sleeper' })).toMatchObject({
      status: 404,
      body: { success: false, error: 'Agent not connected' },
    });
    expect((await ask('/test', { command: 'true', agent_id: 'linux-1' }, user)).status).toBe(403);
    expect(await ask('/test', { command: 'true', agent_id: 'linux-1', timeout: 301 })).toMatchObject({
      status: 422,
      body: { detail: [{ loc: ['body', 'timeout'], msg: expect.stringContaining('300000') }] },
    });
  });
});

it('the house asks for the same in its own words', async () => {
  suggest('free -m', { parameters: [{ name: 'unit' }] });
  const body = { messages: [{ role: 'user', content: 'how much memory?' }], shell: 'bash', os: 'Debian' };
  const first = await system.call<{ command: object }>('POST', '/v1/assistant/suggestions', body);
  expect(first).toMatchObject({
    command: {
      command: 'free -m',
      parameters: [{ name: 'unit', type: 'string', default: null }],
      label: 'safe',
    },
    shell: 'bash',
    text: expect.stringContaining('free -m'),
    isRefusal: false,
    isCached: false,
  });
  expect(await system.call('POST', '/v1/assistant/suggestions', body)).toEqual({ ...first, isCached: true });
  const unasked = { messages: [{ role: 'assistant', content: 'x' }] };
  expect((await system.request('POST', '/v1/assistant/suggestions', unasked)).status).toBe(422);

  const run = { agentIds: ['linux-1'], act: { command: 'echo said' }, waitMs: 10_000 };
  const batch = await system.call<{ commands: { commandId: string }[] }>('POST', '/v1/commands', run);
  const path = `/v1/commands/${batch.commands[0]?.commandId}/explanation`;
  stub.enqueue({ type: 'text', text: 'It said a word.' });
  expect(await system.call('POST', path)).toEqual({ text: 'It said a word.' });
  // A user sees own commands only.
  expect(await system.request('POST', path, undefined, { token: user })).toMatchObject({
    status: 404,
    body: { code: 'command_not_found' },
  });
});

it('who leaves is charged for the question, and the call to the model ends', async () => {
  stub.enqueue({ type: 'hang' });
  const leaving = new AbortController();
  const asked = stub.requests.length;
  const reply = fetch(`${system.url}/api/v1/commands/ai/generate`, {
    method: 'POST',
    headers: { authorization: `Bearer ${system.token()}`, 'content-type': 'application/json' },
    body: JSON.stringify({ message: 'never mind' }),
    signal: leaving.signal,
  }).catch(() => 'left');
  await stub.waitForRequests(asked + 1);
  leaving.abort();
  expect(await reply).toBe('left');
  await stub.waitForHangUps(1);
  const call = await system.until(lastCall, ({ outcome }) => outcome === 'aborted', 'the call is counted');
  expect(call.input_tokens).toBeGreaterThan(100);
  await system.until(
    () => audits('assistant.suggest'),
    (rows) => rows.at(-1)?.details.code === 'aborted',
    'it is audited',
  );
});

it('a used up budget is 429 and says which; what is remembered is still told', async () => {
  suggest('whoami');
  expect((await ask('/generate', { message: 'who am I?' }, user)).status).toBe(200);
  await system.call('PUT', '/v1/settings/config/LLM_BUDGET_USER_DAY_USD', { value: '0.0001' });
  const refused = await ask('/generate', { message: 'and where?' }, user);
  expect(refused).toMatchObject({
    status: 429,
    body: { success: false, code: 'BUDGET_EXCEEDED', error: 'The user budget for the model is used up' },
  });
  expect((await ask('/generate', { message: 'who am I?' }, user)).body.cached).toBe(true);
  const tested = await ask('/test', { command: 'true', agent_id: 'linux-1' });
  expect(tested.body).toMatchObject({
    success: true,
    analysis: null,
    analysis_error: expect.stringContaining('budget'),
  });
  await system.call('DELETE', '/v1/settings/config/LLM_BUDGET_USER_DAY_USD');
});

it('status follows the settings, and without a key generate is 503', async () => {
  expect((await ask('/status')).body).toEqual({
    available: true,
    message: 'AI service is available (claude-sonnet-test)',
    model: 'claude-sonnet-test',
  });
  const bare = await startSystem({ worker: false });
  try {
    expect(await bare.call('GET', '/api/v1/commands/ai/status')).toEqual({
      available: false,
      message: 'AI service is not configured: ANTHROPIC_API_KEY is not set',
      model: null,
    });
    const refused = await bare.request('POST', '/api/v1/commands/ai/generate', { message: 'x' });
    expect(refused).toMatchObject({
      status: 503,
      body: { success: false, error: 'AI service is not configured: ANTHROPIC_API_KEY is not set' },
    });
  } finally {
    await bare.close();
  }
});
