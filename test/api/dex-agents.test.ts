/** `/api/v1/agents` and `/api/v1/system` as dex clients know them, with real agents on real sockets. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { dexAgentRoutes } from '../../api/routes/dex/agents.ts';
import type { DexAgent, DexAgentStatus } from '../../contracts/families/dex/agents.ts';
import { connectScriptedAgent } from '../support/scripted-agent.ts';
import { type System, startSystem } from '../support/system.ts';
import { deskOf } from '../support/tasks.ts';

const AGENT_TOKEN = 'the-shared-agent-token-of-this-test';

let system: System;
beforeAll(async () => {
  system = await startSystem({ worker: false, env: { AGENT_TOKEN } });
});
afterAll(() => system.close());

const agents = '/api/v1/agents';
const shared = { token: AGENT_TOKEN };
const register = (body: object, options: { token?: string; headers?: Record<string, string> } = shared) =>
  system.request<DexAgent>('POST', `${agents}/register`, body, options);
const statusOf = (id: string) => system.call<DexAgentStatus>('GET', `${agents}/status/${id}`);

describe('registering', () => {
  it('answers the agent, and the same one for the same host name', async () => {
    const body = {
      ...{ hostname: 'DESKTOP-1', ip: '192.168.1.9', os: 'Windows 11', version: '1.2', tags: ['test lab'] },
      system_info: { cpu_percent: 45.2 },
    };
    const first = await register(body);
    expect(first.status).toBe(200);
    expect(first.body).toEqual({
      ...body,
      ...{
        id: expect.any(String),
        status: 'offline',
        last_seen: null,
        connection_id: null,
        is_connected: false,
      },
    });
    expect((await register({ hostname: 'desktop-1' })).body).toMatchObject({
      id: first.body.id,
      tags: ['test lab'],
    });
    expect(
      (await system.request('POST', `${agents}/register/`, { hostname: 'DESKTOP-1' }, shared)).status,
    ).toBe(200);
  });

  it('is refused without a credential, without a host name, and for ids of routes', async () => {
    expect((await register({ hostname: 'x' }, { token: 'wrong' })).status).toBe(401);
    const bare = await register({});
    expect(bare.status).toBe(422);
    expect(bare.body).toMatchObject({
      success: false,
      code: 'VALIDATION_ERROR',
      detail: [{ loc: ['body', 'hostname'] }],
    });
    expect((await register({ id: 'connected', hostname: 'x' })).status).toBe(422);
  });

  it('honours Idempotency-Key', async () => {
    const headers = { 'idempotency-key': 'reg-1' };
    const first = await register({ hostname: 'keyed' }, { ...shared, headers });
    expect((await register({ hostname: 'keyed' }, { ...shared, headers })).body.id).toBe(first.body.id);
    expect((await register({ hostname: 'other' }, { ...shared, headers })).status).toBe(422);
  });
});

describe('one agent', () => {
  it('is read, changed in part, and deleted: then it is gone, with its socket and its token', async () => {
    const { agentId, agentToken } = await system.enrol('dex-one');
    const socket = await connectScriptedAgent({ url: system.url, agentId, token: agentToken });
    await socket.take('welcome');
    expect(await system.call('GET', `${agents}/${agentId}`)).toMatchObject({
      ...{ id: agentId, status: 'online', is_connected: true, connection_id: `${agentId}:1`, os: 'Linux' },
    });
    const put = { tags: ['a', 'b'], status: 'offline', is_connected: false };
    expect(await system.call('PUT', `${agents}/${agentId}`, put)).toMatchObject({
      ...{ tags: ['a', 'b'], status: 'online', os: 'Linux' },
    });
    await system.enrol('dex-waiting');
    const queued = await system.call<{ commands: { commandId: string }[] }>('POST', '/v1/commands', {
      agentIds: ['dex-waiting'],
      act: { command: 'true' },
    });
    expect(await system.call('DELETE', `${agents}/${agentId}`)).toEqual({
      message: 'Agent deleted successfully',
    });
    expect(await system.call('DELETE', `${agents}/dex-waiting`)).toBeDefined();
    expect(await socket.closed).toBe(4004);
    const [command] = queued.commands;
    expect(await system.call('GET', `/v1/commands/${command?.commandId}`)).toMatchObject({
      state: 'rejected',
    });
    for (const [method, path, body] of [
      ['GET', agentId],
      ['GET', `status/${agentId}`],
      ['PUT', agentId, {}],
      ['DELETE', agentId],
      ['POST', `${agentId}/refresh`],
      ['POST', `${agentId}/heartbeat`, {}],
    ] as const) {
      const reply = await system.request(method, `${agents}/${path}`, body);
      expect(reply.status, `${method} ${path}`).toBe(404);
      expect(reply.body).toMatchObject({
        error: 'Agent not found',
        code: 'AGENT_NOT_FOUND',
        detail: 'Agent not found',
      });
    }
    const listed = await system.call<DexAgent[]>('GET', agents);
    expect(listed.map((agent) => agent.id)).not.toContain(agentId);
  });

  it('is shown with what hostile machines say, inert', async () => {
    const hostname = '<img src=x onerror=alert(1)>\u001b[31m"; rm -rf /';
    const { body } = await register({ hostname, os: '\u202Etxt.exe', version: '$(id)' });
    expect(await system.call('GET', `${agents}/${body.id}`)).toMatchObject({
      ...{
        hostname: '<img src=x onerror=alert(1)>\uFFFD[31m"; rm -rf /',
        os: '\uFFFDtxt.exe',
        version: '$(id)',
      },
    });
  });
});

describe('how agents are doing', () => {
  it('is told by lists and by status, which no agent id can shadow', async () => {
    const { agentId, agentToken } = await system.enrol('dex-live');
    await system.enrol('dex-away');
    const idsOf = async (list: string) =>
      (await system.call<DexAgent[]>('GET', `${agents}/${list}`)).map((agent) => agent.id);
    expect(await statusOf('dex-away')).toMatchObject({
      ...{ overall_status: 'offline', websocket_connected: false, heartbeat_status: 'unknown' },
      ...{ seconds_since_heartbeat: null, last_seen: null, agent_data: { id: 'dex-away' } },
    });
    const socket = await connectScriptedAgent({ url: system.url, agentId, token: agentToken });
    await socket.take('welcome');
    expect(await idsOf('connected')).toContain(agentId);
    expect(await idsOf('connected/')).not.toContain('dex-away');
    expect(await idsOf('offline')).toContain('dex-away');
    expect(await idsOf('offline')).not.toContain(agentId);
    expect(await statusOf(agentId)).toMatchObject({
      ...{
        agent_id: agentId,
        overall_status: 'online',
        websocket_connected: true,
        heartbeat_status: 'recent',
      },
    });
    const silent = (seconds: number) =>
      system.api.parts.db.raw(
        `update agent_presence set last_seen_at = now() - ? * interval '1 second' where agent_id = ?`,
        [seconds, agentId],
      );
    await silent(45);
    expect(await statusOf(agentId)).toMatchObject({ overall_status: 'warning', heartbeat_status: 'stale' });
    await silent(61);
    expect(await statusOf(agentId)).toMatchObject({ overall_status: 'warning', heartbeat_status: 'offline' });
    expect(await idsOf('offline')).toContain(agentId);
    await socket.close();
    await system.until(
      () => statusOf(agentId),
      (status) => status.overall_status === 'offline',
      'its goodbye',
    );
  });

  it('is told by heartbeats over HTTP, with or without facts', async () => {
    const { body } = await register({ hostname: 'beating' });
    const beat = (facts?: object) =>
      system.call<{ message: string; agent: DexAgent; timestamp: string }>(
        ...(['POST', `${agents}/${body.id}/heartbeat`, facts, shared] as const),
      );
    expect(await beat()).toMatchObject({
      message: 'Heartbeat received',
      agent: { status: 'online', is_connected: false },
    });
    await beat({
      system_metrics: { cpu_percent: 11, memory_percent: 22, disk_usage: 33 },
      agent_id: body.id,
    });
    const status = await system.until(
      () => statusOf(body.id),
      ({ agent_data }) => agent_data.system_info !== null,
      'the heartbeat',
    );
    expect(status).toMatchObject({
      ...{ overall_status: 'warning', websocket_connected: false, heartbeat_status: 'recent' },
      agent_data: { system_info: { cpu_percent: 11 } },
    });
    expect(await system.call('GET', `/v1/agents/${body.id}/metrics`)).toMatchObject({
      ...{ resolution: 'fine', stepSeconds: 15 },
      samples: [{ cpuPercent: 11, memoryPercent: 22, diskPercent: 33 }],
    });
    expect(
      (await system.request('POST', `${agents}/${body.id}/heartbeat`, {}, { token: 'none' })).status,
    ).toBe(401);
  });
});

describe('refreshing', () => {
  it('asks the agent, wherever its socket is, and waits for what it says', async () => {
    const { agentId } = await system.startAgent({ metrics: true });
    const other = await system.openApi();
    const reply = await fetch(`${other.url}${agents}/${agentId}/refresh`, {
      method: 'POST',
      headers: { authorization: `Bearer ${system.token()}` },
    });
    expect(await reply.json()).toMatchObject({
      message: 'Agent refreshed successfully',
      agent: {
        id: agentId,
        system_info: { memory_usage: expect.any(Number), disk_usage: expect.any(Object) },
      },
    });
  });

  it('says so when nobody answers', async () => {
    await system.enrol('mute');
    expect(await system.call('POST', `${agents}/mute/refresh`)).toMatchObject({
      ...{ message: expect.stringContaining('did not answer'), agent: { id: 'mute', status: 'offline' } },
    });
  });
});

describe('draining', () => {
  it('hands out nothing new, over a reconnect as well, until the agent may work again', async () => {
    const { agentId, agentToken } = await system.enrol('dry');
    const connect = () => connectScriptedAgent({ url: system.url, agentId, token: agentToken });
    const first = await connect();
    await first.take('welcome');
    expect(await system.call('POST', `/v1/agents/${agentId}/drain`)).toMatchObject({ status: 'draining' });
    await first.close();
    const second = await connect();
    await second.take('welcome');
    const run = await system.call<{ commands: { commandId: string; state: string }[] }>(
      'POST',
      '/v1/commands',
      {
        ...{ agentIds: [agentId], act: { command: 'true' } },
      },
    );
    expect(run.commands).toMatchObject([{ state: 'queued' }]);
    expect(second.frames.map((frame) => frame.type)).toEqual(['welcome']);
    expect(await system.call('POST', `/v1/agents/${agentId}/resume`)).toMatchObject({ status: 'online' });
    expect((await second.take('run')).commandId).toBe(run.commands[0]?.commandId);
    await second.close();
  });

  it('is noticed without its event as well', async () => {
    const { agentId, agentToken } = await system.enrol('dry-unheard');
    const agent = await connectScriptedAgent({ url: system.url, agentId, token: agentToken });
    await agent.take('welcome');
    const { db } = system.api.parts;
    await db('agents').where({ id: agentId }).update({ drain_requested_at: db.fn.now() });
    const stateOfNext = async () => {
      const body = { agentIds: [agentId], act: { command: 'true' } };
      const run = await system.call<{ commands: { state: string }[] }>('POST', '/v1/commands', body);
      return run.commands[0]?.state;
    };
    await system.until(stateOfNext, (state) => state === 'queued', 'the scan');
    await agent.close();
  });
});

describe('a token that is replaced with an overlap', () => {
  it('leaves the socket open, which the end of the overlap closes', async () => {
    const { agentId, agentToken } = await system.enrol('overlapping');
    const socket = await connectScriptedAgent({ url: system.url, agentId, token: agentToken });
    await socket.take('welcome');
    await system.call('POST', `/v1/agents/${agentId}/rotate-token?overlapMs=3600000`);
    const again = await connectScriptedAgent({ url: system.url, agentId, token: agentToken });
    await again.take('welcome');
    await system.api.parts.db('agent_tokens').where({ agent_id: agentId }).whereNotNull('expires_at').update({
      expires_at: system.api.parts.db.fn.now(),
    });
    expect(await again.closed).toBe(4004);
  });
});

describe('seeding', () => {
  it('makes three agents', async () => {
    const seeded = await system.call<DexAgent[]>('POST', `${agents}/seed`);
    expect(seeded).toHaveLength(3);
    expect(await system.call('POST', `${agents}/seed/`)).toEqual(seeded);
    const viewer = await deskOf(system).addUser('viewer', 'a-viewer');
    expect((await system.request('POST', `${agents}/seed`, undefined, { token: viewer })).status).toBe(403);
  });

  it('is not there in production', async () => {
    const presence = { add: () => undefined };
    const routes = dexAgentRoutes({ ...system.api.parts.domain, presence, isProduction: true });
    const seed = routes.find(({ contract }) => contract.path === `${agents}/seed`);
    await expect(seed?.handle({} as never)).rejects.toMatchObject({ code: 'not_found' });
  });
});

describe('the server', () => {
  it('describes its machine to those who are known, and its health to everybody', async () => {
    const info = await system.call<Record<string, unknown>>('GET', '/api/v1/system/info');
    expect(info).toEqual({
      ...{ hostname: expect.any(String), os_version: expect.any(String), version: expect.any(String) },
      ...{ cpu_usage: expect.any(Number), memory_usage: expect.any(Number), disk_usage: expect.any(Object) },
    });
    expect(info.disk_usage).toMatchObject({ '/': expect.any(Number) });
    expect((await fetch(`${system.url}/api/v1/system/info`)).status).toBe(401);
    const health = await fetch(`${system.url}/api/v1/system/health/`);
    expect(await health.json()).toEqual({ status: 'healthy', service: 'DexAgents API' });
    expect((await fetch(`${system.url}/api/v1/system/health`, { method: 'PATCH' })).status).toBe(405);
  });
});

it('shows what an agent measures now, also after a client sent back all it had read', async () => {
  const { agentId } = await system.enrol('dex-measured');
  const at = `${agents}/${agentId}`;
  const measure = (cpuPercent: number) => {
    const measured = {
      ...{ cpuPercent, loadAverage: null, memoryTotalBytes: 100, memoryUsedBytes: 50, disks: [] },
      ...{ networkReceivedBytes: null, networkSentBytes: null, processCount: null, uptimeSeconds: 1 },
    };
    return deskOf(system).sql(
      `insert into agent_facts (agent_id, metrics, metrics_at) values (:agentId, cast(:measured as jsonb), now())
       on conflict (agent_id) do update set metrics = excluded.metrics`,
      { agentId, measured: JSON.stringify(measured) },
    );
  };
  // Of an agent that is asked at its address, that is the address.
  const address = `https://${'a'.repeat(60)}.example/agent`;
  await deskOf(system).sql('update agents set address = :address where id = :agentId', { agentId, address });
  await measure(1);
  const read = await system.call<DexAgent>('GET', at);
  expect(read.system_info).toMatchObject({ cpu_usage: 1 });
  await system.call('PUT', at, { ...read, tags: ['edited'] });
  await measure(99);
  expect(await system.call('GET', at)).toMatchObject({
    ...{ ip: address, tags: ['edited'], system_info: { cpu_usage: 99 } },
  });
});
