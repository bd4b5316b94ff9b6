/** Agents of other systems on real sockets: they register, are told of commands and answer as they always did. */
import { randomUUID } from 'node:crypto';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { AgentView } from '../../contracts/agents.ts';
import { type Ledger, ledgerOf } from '../support/ledger.ts';
import {
  connectLegacyAgent,
  type LegacyAgent,
  type LegacyScript,
  legacyScripts,
} from '../support/legacy-agent.ts';
import { type System, startSystem } from '../support/system.ts';

const AGENT_TOKEN = 'shared-agent-token-of-the-tests';

let system: System;
let ledger: Ledger;
const open: LegacyAgent[] = [];

beforeAll(async () => {
  system = await startSystem({ worker: false, env: { AGENT_TOKEN } });
  ledger = ledgerOf(system);
});
afterEach(async () => {
  await Promise.all(open.splice(0).map((agent) => agent.close()));
});
afterAll(() => system.close());

const newId = () => `legacy-${randomUUID().slice(0, 8)}`;
const bearer = (token: string) => ({ authorization: `Bearer ${token}` });
const dial = async (path: string, headers: Record<string, string> = {}) => {
  const agent = await connectLegacyAgent(system.url, path, headers);
  open.push(agent);
  return agent;
};
const agentOf = (id: string) => system.call<AgentView>('GET', `/v1/agents/${id}`);
const untilStatus = (id: string, status: AgentView['status']) =>
  system.until(
    async () => (await system.request<AgentView>('GET', `/v1/agents/${id}`)).body,
    (agent) => agent.status === status,
    `agent ${id} to be ${status}`,
  );
/** Registered and connected by its own token. */
const connect = async (script: LegacyScript, given: Record<string, unknown> = {}) => {
  const { agentId, agentToken } = await system.enrol(newId());
  const agent = await dial(script.path(agentId), bearer(agentToken));
  agent.send(script.register(agentId, given));
  await untilStatus(agentId, 'online');
  return { agent, agentId, agentToken };
};
const scriptOf = (name: LegacyScript['name']): LegacyScript => {
  const found = legacyScripts.find((script) => script.name === name);
  if (found === undefined) throw new Error(`no script ${name}`);
  return found;
};

describe.each(legacyScripts)('dialect $name', (script) => {
  it('registers, is welcomed, and is shown as it describes itself', async () => {
    const { agent, agentId } = await connect(script, { version: '9.9', hostname: 'WIN-DESKTOP' });
    const { data, timestamp } = await agent.take('welcome');
    expect(data).toMatchObject({
      agent_id: agentId,
      connection_id: expect.any(String),
      message: expect.any(String),
    });
    expect(timestamp).toEqual(expect.any(String));
    expect(await agentOf(agentId)).toMatchObject({
      hostname: 'WIN-DESKTOP',
      version: '9.9',
      defaultShell: 'powershell',
    });
  });

  it('runs a command and answers', async () => {
    const { agent, agentId } = await connect(script);
    const { commandId } = await ledger.start(agentId, 'Get-Date', {
      timeoutMs: 5_000,
      workingDirectory: 'C:\\Temp',
    });
    const { id, ...told } = script.commandOf(await agent.take(script.commandType));
    expect(told).toEqual({ command: 'Get-Date', timeout: 5, directory: 'C:\\Temp' });
    agent.send(script.result(id, { output: 'Monday\r\nÄ€\u{1F600}', success: true, code: 0 }));
    const done = await ledger.until(commandId, 'final');
    expect(done).toMatchObject({
      state: 'succeeded',
      exitCode: script.name === 'A' || script.name === 'D' ? null : 0,
      durationMs: script.name === 'A' ? null : 250,
    });
    expect((await ledger.download(commandId, 'stdout')).toString()).toBe('Monday\r\nÄ€\u{1F600}');
    expect(await ledger.events(commandId)).toEqual(['command.sent', 'command.finished']);
  });

  it('says that a command failed', async () => {
    const { agent, agentId } = await connect(script);
    const { commandId } = await ledger.start(agentId, 'nope');
    const { id } = script.commandOf(await agent.take(script.commandType));
    agent.send(script.result(id, { error: 'not recognized', success: false, code: 1 }));
    expect(await ledger.until(commandId, 'final')).toMatchObject({ state: 'failed' });
    expect((await ledger.download(commandId, 'stderr')).toString()).toBe('not recognized');
  });

  it('gets what waited for it', async () => {
    const { agentId, agentToken } = await system.enrol(newId());
    const { commandId } = await ledger.start(agentId, 'Get-Date', { shell: 'powershell' });
    const agent = await dial(script.path(agentId), bearer(agentToken));
    agent.send(script.register(agentId));
    const { id } = script.commandOf(await agent.take(script.commandType));
    agent.send(script.result(id, { output: 'x', success: true, code: 0 }));
    expect(await ledger.until(commandId, 'final')).toMatchObject({ state: 'succeeded' });
  });

  it('may answer in the shape of any other', async () => {
    const { agent, agentId } = await connect(script);
    for (const other of legacyScripts) {
      const { commandId } = await ledger.start(agentId, `as ${other.name}`);
      const { id } = script.commandOf(
        await agent.take(
          script.commandType,
          (frame) => script.commandOf(frame).command === `as ${other.name}`,
        ),
      );
      agent.send(other.result(id, { output: other.name, success: true, code: 0 }));
      expect(await ledger.until(commandId, 'final')).toMatchObject({ state: 'succeeded' });
    }
  });

  it('gets in with the shared agent token and the id it claims', async () => {
    const agentId = newId();
    const agent = await dial(script.path(agentId), { 'x-api-key': AGENT_TOKEN });
    agent.send(script.register(agentId, script.name === 'C' ? {} : { tags: ['lab'] }));
    // An agent of dialect C names itself in its path only.
    await untilStatus(agentId, 'online');
    expect(await agent.take('welcome')).toMatchObject({ data: { agent_id: agentId } });
    const { commandId } = await ledger.start(agentId, 'Get-Date');
    const { id } = script.commandOf(await agent.take(script.commandType));
    agent.send(script.result(id, { output: 'x', success: true, code: 0 }));
    expect(await ledger.until(commandId, 'final')).toMatchObject({ state: 'succeeded' });
    expect(await ledger.auditCount('agent.register', agentId)).toBe(1);
  });
});

describe('credentials', () => {
  it.each([
    ['token in the query', (token: string) => ({ path: `?token=${token}` })],
    ['api_token in the query', (token: string) => ({ path: `?api_token=${token}` })],
    ['token in the register frame', (token: string) => ({ said: { token } })],
    ['api_token in the register frame', (token: string) => ({ said: { api_token: token } })],
  ] as const)('%s', async (_, show) => {
    const { agentId, agentToken } = await system.enrol(newId());
    const shown: { path?: string; said?: Record<string, unknown> } = show(agentToken);
    const agent = await dial(`/api/v1/ws/agent${shown.path ?? ''}`);
    agent.send({ type: 'register', data: { id: agentId, hostname: 'h', ...shown.said } });
    expect(await agent.take('welcome')).toMatchObject({ data: { agent_id: agentId } });
    expect(JSON.stringify(system.lines)).not.toContain(agentToken);
  });

  it('none, a wrong one, that of a person or of another agent: closed with 1008', async () => {
    const { agentId, agentToken } = await system.enrol(newId());
    const other = await system.enrol(newId());
    const register = { type: 'register', data: { agent_id: agentId, hostname: 'h' } };
    const paths = [`/api/v1/ws/${agentId}`, '/api/v1/ws/agent'];
    for (const path of paths) {
      const nobody = await dial(path);
      nobody.send(register);
      expect((await nobody.closed).code).toBe(1008);
      expect(nobody.frames).toEqual([]);
      const forged = await dial(path);
      forged.send({ ...register, token: `${agentToken}x` });
      expect((await forged.closed).code).toBe(1008);
      const headers = [bearer('wrong'), bearer(system.token())];
      for (const header of headers) expect((await (await dial(path, header)).closed).code).toBe(1008);
      const thief = await dial(path, bearer(other.agentToken));
      if (thief.readyState() === 1) thief.send(register);
      expect((await thief.closed).code).toBe(1008);
    }
    expect((await agentOf(agentId)).status).toBe('offline');
  });

  it('the shared token does not speak for an agent that has its own', async () => {
    const { agentId } = await system.enrol(newId());
    const byPath = await dial(`/api/v1/ws/${agentId}`, bearer(AGENT_TOKEN));
    expect((await byPath.closed).code).toBe(1008);
    const byFrame = await dial('/api/v1/ws/agent', bearer(AGENT_TOKEN));
    byFrame.send({ type: 'register', data: { id: agentId, hostname: 'h' } });
    expect((await byFrame.closed).code).toBe(1008);
    expect([...byPath.frames, ...byFrame.frames]).toEqual([]);
    expect((await agentOf(agentId)).status).toBe('offline');
  });

  it('its own token makes it who it is, whatever it calls itself', async () => {
    const { agentId, agentToken } = await system.enrol(newId());
    const agent = await dial('/api/v1/ws/agent', bearer(agentToken));
    agent.send({ type: 'register', data: { id: `made-up-${randomUUID()}`, hostname: 'h' } });
    expect(await agent.take('welcome')).toMatchObject({ data: { agent_id: agentId } });
  });

  it('a revoked agent is closed, and stays out', async () => {
    const { agent, agentId, agentToken } = await connect(scriptOf('B'));
    await system.call('POST', `/v1/agents/${agentId}/revoke`, {});
    expect((await agent.closed).code).toBe(4004);
    expect((await (await dial(`/api/v1/ws/${agentId}`, bearer(agentToken))).closed).code).toBe(1008);
  });
});

describe('the beginning', () => {
  it('must be a registration with an id where the path has none', async () => {
    const { agentToken } = await system.enrol(newId());
    const early = await dial('/api/v1/ws/agent', bearer(agentToken));
    early.send({ type: 'heartbeat' });
    expect(await early.take('error')).toMatchObject({
      type: 'error',
      data: { message: 'First message must be registration' },
    });
    expect((await early.closed).code).toBe(1008);
    const nameless = await dial('/api/v1/ws/agent', bearer(agentToken));
    nameless.send({ type: 'register', data: { hostname: 'h' } });
    expect(await nameless.take('error')).toMatchObject({
      data: { message: 'Agent ID required in registration' },
    });
    expect((await nameless.closed).code).toBe(1008);
  });

  it('is the welcome where the path has the id, and may be a heartbeat', async () => {
    const { agentId, agentToken } = await system.enrol(newId());
    const agent = await dial(`/api/v1/ws/${agentId}/`, bearer(agentToken));
    expect(await agent.take('welcome')).toMatchObject({ data: { agent_id: agentId } });
    agent.send({ type: 'heartbeat', data: { system_info: { cpu_percent: 12 } } });
    await untilStatus(agentId, 'online');
    const { commandId } = await ledger.start(agentId, 'Get-Date');
    expect(await agent.take('command')).toMatchObject({ data: { id: commandId, command_id: commandId } });
  });

  it('is waited for: without a word it is connected where it is known, else closed', async () => {
    const { agentId, agentToken } = await system.enrol(newId());
    const known = await dial(`/websocket/ws/${agentId}`, bearer(agentToken));
    const silent = await Promise.all([
      dial('/api/v1/ws/agent', bearer(agentToken)),
      dial(`/api/v1/ws/${agentId}`),
    ]);
    for (const agent of silent) expect((await agent.closed).code).toBe(1008);
    await untilStatus(agentId, 'online');
    const { commandId } = await ledger.start(agentId, 'Get-Date');
    expect(await known.take('command')).toMatchObject({ data: { command_id: commandId } });
  });

  it('is ended with the server', async () => {
    const agent = await dial('/api/v1/ws/agent');
    await system.restartApi();
    expect((await agent.closed).code).toBe(1001);
  });

  it('may not be long', async () => {
    const agent = await dial('/api/v1/ws/agent');
    agent.send({ type: 'register', data: { id: 'x', padding: 'x'.repeat(1_000_000) } });
    expect((await agent.closed).code).toBe(1009);
  });

  it('may be split, sent as binary, and followed at once', async () => {
    const { agentId, agentToken } = await system.enrol(newId());
    const agent = await dial('/api/v1/ws/agent', bearer(agentToken));
    agent.sendSplit({ type: 'register', data: { id: agentId, hostname: 'split' } }, 7);
    agent.sendBinary(JSON.stringify({ type: 'ping' }));
    agent.send({ type: 'ping' });
    await agent.take('welcome');
    await agent.take('pong');
    await agent.take('pong');
    expect(await agentOf(agentId)).toMatchObject({ hostname: 'split', status: 'online' });
  });
});

describe('what such an agent cannot be told', () => {
  it.each([
    ['argv', { argv: ['whoami'], command: undefined }, 'argv_not_available'],
    ['another shell', { shell: 'bash' }, 'shell_not_found'],
    ['standard input', { stdin: 'aGk=' }, 'stdin_not_available'],
    ['an environment', { environment: { A: 'b' } }, 'environment_not_available'],
    ['another user', { user: 'root' }, 'run_as_not_available'],
    ['elevation', { elevated: true }, 'elevation_not_available'],
  ])('%s is rejected and never sent', async (_, act, reason) => {
    const { agent, agentId } = await connect(scriptOf('B'));
    const { commandId } = await ledger.start(agentId, 'x', act);
    expect(await ledger.until(commandId, 'final')).toMatchObject({ state: 'rejected', reason });
    expect(agent.count('command')).toBe(0);
  });

  it('dialect C is told to elevate', async () => {
    const { agent, agentId } = await connect(scriptOf('C'));
    await ledger.start(agentId, 'x', { elevated: true });
    expect(await agent.take('command')).toMatchObject({ data: { run_as_admin: true } });
  });

  it('dialect B is told to elevate where the agent says that it can', async () => {
    const { agent, agentId } = await connect(scriptOf('B'), { capabilities: ['run_as_admin'] });
    await ledger.start(agentId, 'x', { elevated: true });
    expect(await agent.take('command')).toMatchObject({ data: { command: 'x', run_as_admin: true } });
  });

  it('dialect A is told of cmd by the frame that can name it', async () => {
    const { agent, agentId } = await connect(scriptOf('A'));
    const { commandId } = await ledger.start(agentId, 'dir', { shell: 'cmd' });
    expect(await agent.take('command')).toMatchObject({
      data: { id: commandId, type: 'cmd', command: 'dir' },
    });
  });
});
