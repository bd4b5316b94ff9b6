/** What goes wrong with agents that keep no journal, and what the ledger says of it. */
import { randomUUID } from 'node:crypto';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { AgentView } from '../../contracts/agents.ts';
import { markOverdueUnknown } from '../../domain/commands/overdue.ts';
import { type Ledger, ledgerOf, only } from '../support/ledger.ts';
import { connectLegacyAgent, type LegacyAgent } from '../support/legacy-agent.ts';
import { type System, startSystem } from '../support/system.ts';

const AGENT_TOKEN = 'shared-agent-token-of-the-tests';
const MINUTE_MS = 60_000;

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

const agentOf = (id: string) => system.call<AgentView>('GET', `/v1/agents/${id}`);
const untilStatus = (id: string, status: AgentView['status']) =>
  system.until(
    () => agentOf(id),
    (agent) => agent.status === status,
    `agent ${id} to be ${status}`,
  );
const epochOf = async (agentId: string) =>
  only(
    await ledger.sql<{ epoch: number }>('select epoch from agent_connections where agent_id = :agentId', {
      agentId,
    }),
  ).epoch;

interface Identity {
  agentId: string;
  agentToken: string;
}
const enrol = (): Promise<Identity> => system.enrol(`legacy-${randomUUID().slice(0, 8)}`);
/** An agent of dialect B, registered and connected. */
const dial = async (identity: Identity, said: Record<string, unknown> = {}) => {
  const { agentId, agentToken } = identity;
  const agent = await connectLegacyAgent(system.url, `/api/v1/ws/${agentId}`, {
    authorization: `Bearer ${agentToken}`,
  });
  open.push(agent);
  agent.send({ type: 'register', data: { agent_id: agentId, hostname: agentId, os: 'Windows', ...said } });
  await agent.take('welcome'); // At once.
  await agent.take('welcome'); // Connected.
  return agent;
};
const connect = async (said: Record<string, unknown> = {}) => {
  const identity = await enrol();
  return { ...identity, identity, agent: await dial(identity, said) };
};
const answer = (commandId: string, said: Record<string, unknown> = {}) => ({
  type: 'command_result',
  data: { command_id: commandId, result: { success: true, output: 'out', error: '', exit_code: 0, ...said } },
});
/** Everything this agent said before was read: its frames keep their order. */
const barrier = async (agent: LegacyAgent) => {
  agent.send({ type: 'ping' });
  await agent.take('pong');
};

describe('a connection that ends before the answer', () => {
  it('never leads to a second sending: unknown at the next connection', async () => {
    const { agent, agentId, identity } = await connect();
    const { commandId } = await ledger.start(agentId, 'Restart-Computer');
    await agent.take('command');
    agent.cut();
    const again = await dial(identity);
    expect(await ledger.until(commandId, 'unknown')).toMatchObject({ reason: 'journal_lost' });
    await barrier(again);
    expect(again.count('command')).toBe(0);
  });

  it('a late answer on the next connection resolves it, once', async () => {
    const { agent, agentId, identity } = await connect();
    const { commandId } = await ledger.start(agentId, 'Get-Date');
    await agent.take('command');
    agent.cut();
    const again = await dial(identity);
    await ledger.until(commandId, 'unknown');
    again.send(answer(commandId, { output: 'late' }));
    expect(await ledger.until(commandId, 'succeeded')).toMatchObject({ exitCode: 0 });
    again.send(answer(commandId, { success: false, exit_code: 9 }));
    await barrier(again);
    expect((await ledger.download(commandId, 'stdout')).toString()).toBe('late');
    expect(await ledger.command(commandId)).toMatchObject({ state: 'succeeded' });
    expect(await ledger.events(commandId)).toEqual(['command.sent', 'command.finished', 'command.resolved']);
    expect(await ledger.auditCount('command.resolved', commandId)).toBe(1);
  });

  it('is overdue after its timeout and the margin, not after the time to start', async () => {
    const { agent, agentId } = await connect();
    const { commandId } = await ledger.start(agentId, 'Get-Date', { timeoutMs: 7_000 });
    await agent.take('command');
    const dueInMs = () =>
      ledger.sql<{ ms: number }>(
        `select cast(extract(epoch from overdue_at - sent_at) * 1000 as integer) as ms
         from commands where command_id = cast(:commandId as uuid)`,
        { commandId },
      );
    await system.until(dueInMs, (rows) => only(rows).ms === 7_000 + MINUTE_MS, 'the answer to be expected');
    agent.cut();
    await untilStatus(agentId, 'offline');
    await ledger.sql(
      `update commands set overdue_at = now() - interval '1 second' where command_id = cast(:commandId as uuid)`,
      { commandId },
    );
    await markOverdueUnknown(system.api.parts.domain, 10);
    expect(await ledger.command(commandId)).toMatchObject({ state: 'unknown', reason: 'agent_silent' });
  });

  it('an answer after that, on the same connection, resolves its own command and no other', async () => {
    const { agent, agentId } = await connect();
    const { commandId } = await ledger.start(agentId, 'slow');
    await agent.take('command');
    await ledger.sql(
      `update commands set overdue_at = now() - interval '1 second' where command_id = cast(:commandId as uuid)`,
      { commandId },
    );
    await markOverdueUnknown(system.api.parts.domain, 10);
    const { commandId: next } = await ledger.start(agentId, 'next');
    agent.send(answer(commandId, { output: 'slow' }));
    expect(await ledger.until(commandId, 'succeeded')).toMatchObject({ exitCode: 0 });
    expect(await ledger.command(next)).toMatchObject({ state: 'sent', stdout: { bytes: 0 } });
    agent.send(answer(next, { output: 'next' }));
    await ledger.until(next, 'succeeded');
    expect((await ledger.download(next, 'stdout')).toString()).toBe('next');
  });

  it('an API that starts again has sent what it sent', async () => {
    const { agent, agentId, identity } = await connect();
    const { commandId } = await ledger.start(agentId, 'Get-Date');
    await agent.take('command');
    await system.restartApi();
    expect((await agent.closed).code).toBe(1001);
    const again = await dial(identity);
    await ledger.until(commandId, 'unknown');
    again.send(answer(commandId));
    await ledger.until(commandId, 'succeeded');
    expect(again.count('command')).toBe(0);
  });
});

describe('answers', () => {
  it('count for the command they name, in any order', async () => {
    const { agent, agentId } = await connect();
    const [one, two] = [await ledger.start(agentId, 'one'), await ledger.start(agentId, 'two')];
    await agent.take('command');
    await agent.take('command');
    agent.send(answer(two.commandId, { output: '2' }));
    agent.sendSplit(answer(one.commandId, { output: '1', success: false, exit_code: 1 }), 9);
    expect(await ledger.until(two.commandId, 'final')).toMatchObject({ state: 'succeeded' });
    expect(await ledger.until(one.commandId, 'final')).toMatchObject({ state: 'failed', exitCode: 1 });
    expect((await ledger.download(one.commandId, 'stdout')).toString()).toBe('1');
  });

  it('given twice count once', async () => {
    const { agent, agentId } = await connect();
    const { commandId } = await ledger.start(agentId, 'x');
    await agent.take('command');
    agent.send(answer(commandId));
    agent.send(answer(commandId));
    agent.send(answer(commandId, { success: false, exit_code: 1 }));
    await ledger.until(commandId, 'final');
    await barrier(agent);
    expect(await ledger.command(commandId)).toMatchObject({ state: 'succeeded', stdout: { bytes: 3 } });
    expect(await ledger.events(commandId)).toEqual(['command.sent', 'command.finished']);
  });

  it('of unknown ids and of others’ commands change nothing', async () => {
    const { agent, agentId } = await connect();
    const thief = await connect();
    const { commandId } = await ledger.start(agentId, 'x');
    await agent.take('command');
    for (const id of [randomUUID(), 'cmd_1', '', '../../etc', commandId]) thief.agent.send(answer(id));
    thief.agent.send({
      type: 'powershell_result',
      request_id: 'ps_1700000000_deadbeef',
      data: {},
      success: true,
    });
    await barrier(thief.agent);
    const { commandId: own } = await ledger.start(thief.agentId, 'y');
    thief.agent.send(answer(own));
    await ledger.until(own, 'final');
    expect(await ledger.command(commandId)).toMatchObject({ state: 'sent' });
    agent.send(answer(commandId));
    expect(await ledger.until(commandId, 'final')).toMatchObject({ state: 'succeeded' });
  });

  it('are complete in one frame of megabytes, and cut at the cap and said to be', async () => {
    const { agent, agentId } = await connect();
    const output = 'Zeile\r\n'.repeat(500_000);
    const { commandId } = await ledger.start(agentId, 'x');
    agent.send(answer(commandId, { output }));
    const done = await ledger.until(commandId, 'final');
    expect(done).toMatchObject({ state: 'succeeded', stdout: { bytes: output.length, truncated: false } });
    expect((await ledger.download(commandId, 'stdout')).equals(Buffer.from(output))).toBe(true);
    const { commandId: capped } = await ledger.start(agentId, 'x', { outputCapBytes: 100_000 });
    agent.send(answer(capped, { output }));
    expect((await ledger.until(capped, 'final')).stdout).toMatchObject({
      bytes: 100_000,
      totalBytes: output.length,
      truncated: true,
    });
  });

  it('with NUL, escapes and half a character are stored and shown', async () => {
    const { agent, agentId } = await connect();
    const { commandId } = await ledger.start(agentId, 'x');
    agent.send(answer(commandId, { output: 'a\u0000b\u001b[31m\ud800' }));
    expect(await ledger.until(commandId, 'final')).toMatchObject({ state: 'succeeded' });
    expect((await ledger.download(commandId, 'stdout')).toString()).toBe('a\u0000b\u001b[31m\ufffd');
  });
});

describe('cancel', () => {
  it('of what is out tells such an agent nothing; its answer counts', async () => {
    const { agent, agentId } = await connect();
    const { commandId } = await ledger.start(agentId, 'x');
    await agent.take('command');
    await ledger.cancel(commandId);
    await barrier(agent);
    expect(agent.frames.map((frame) => frame.type).filter((type) => type !== 'pong')).toEqual([
      'welcome',
      'welcome',
      'command',
    ]);
    expect(await ledger.command(commandId)).toMatchObject({ state: 'sent' });
    agent.send(answer(commandId));
    expect(await ledger.until(commandId, 'final')).toMatchObject({ state: 'succeeded' });
  });
});

describe('two connections with one id', () => {
  it('the newer one counts, the older one is told and closed', async () => {
    const { agent, agentId, identity } = await connect();
    const newer = await dial(identity);
    expect((await agent.closed).code).toBe(4001);
    const { commandId } = await ledger.start(agentId, 'x');
    await newer.take('command');
    newer.send(answer(commandId));
    await ledger.until(commandId, 'final');
    expect(agent.count('command')).toBe(0);
    expect(await agentOf(agentId)).toMatchObject({ status: 'online' });
    expect(await epochOf(agentId)).toBe(2);
    // Its journal is another each time: no sign of a copied machine.
    const told = await ledger.sql(
      `select 1 from events where agent_id = :agentId and type = 'agent.clone_suspected'`,
      { agentId },
    );
    expect(told).toEqual([]);
  });

  it('many at once leave one', async () => {
    const identity = await enrol();
    const agents = await Promise.all(
      Array.from({ length: 8 }, async () => {
        const agent = await connectLegacyAgent(system.url, '/api/v1/ws/agent', {
          authorization: `Bearer ${identity.agentToken}`,
        });
        open.push(agent);
        agent.send({ type: 'register', data: { id: identity.agentId, hostname: 'h' } });
        return agent;
      }),
    );
    const alive = () => agents.filter((agent) => agent.readyState() === 1);
    await system.until(
      async () => alive().length,
      (count) => count === 1,
      'one socket to be left',
    );
    await untilStatus(identity.agentId, 'online');
    const { commandId } = await ledger.start(identity.agentId, 'x');
    const [last] = alive();
    expect((await last?.take('powershell_command'))?.request_id).toBe(`ps_${commandId}`);
  });
});

describe('a peer that misbehaves', () => {
  it('floods: others are served meanwhile, and it is still there', async () => {
    const noisy = await connect();
    const quiet = await connect();
    for (let at = 0; at < 5_000; at += 1) {
      noisy.agent.send({ type: 'heartbeat', data: { system_info: { cpu_percent: at % 100 } } });
      if (at % 5 === 0) noisy.agent.send(answer(randomUUID()));
    }
    const { commandId } = await ledger.start(quiet.agentId, 'x');
    await quiet.agent.take('command');
    quiet.agent.send(answer(commandId));
    await ledger.until(commandId, 'final');
    await barrier(noisy.agent);
    expect((await agentOf(noisy.agentId)).status).toBe('online');
  });

  it('sends no JSON, again and again: told, then closed', async () => {
    const { agent } = await connect();
    for (let at = 0; at < 25; at += 1) agent.sendText('{"type":');
    expect((await agent.closed).code).toBe(1008);
    expect(agent.count('error')).toBe(20);
  });

  it('does not read: its commands wait, those of others do not', async () => {
    const slow = await connect();
    const quick = await connect();
    slow.agent.pause();
    const script = 'x'.repeat(100_000);
    for (let at = 0; at < 20; at += 1) await ledger.start(slow.agentId, script);
    const { commandId } = await ledger.start(quick.agentId, 'x');
    await quick.agent.take('command');
    quick.agent.send(answer(commandId));
    expect(await ledger.until(commandId, 'final')).toMatchObject({ state: 'succeeded' });
    slow.agent.cut();
  });

  it('has a hostile name, system and version: stored, shown, inert', async () => {
    const hostile = `<script>"';--\u0000\u001b[2J\u202e$(id)\r\n`;
    const { agentId } = await connect({ hostname: hostile, os: `Windows ${hostile}`, version: hostile });
    const shown = await agentOf(agentId);
    const inert = '<script>"\';--\ufffd\ufffd[2J\ufffd$(id)\ufffd\ufffd';
    expect(shown).toMatchObject({ hostname: inert, os: `Windows ${inert}`, version: inert });
  });
});

describe('presence', () => {
  const infoOf = async (agentId: string) =>
    (
      await ledger.sql<{ system_info: unknown }>(
        'select system_info from agent_facts where agent_id = :agentId',
        { agentId },
      )
    )[0]?.system_info;

  it('what it says of its machine is kept as it says it', async () => {
    const { agent, agentId } = await connect();
    const info = { cpu_percent: 45.2, memory_percent: 67.8, disk_usage: { 'C:\\': 78.5 } };
    agent.send({ type: 'heartbeat', data: { system_info: info } });
    await system.until(
      () => infoOf(agentId),
      (stored) => JSON.stringify(stored) !== undefined,
      'the information to be stored',
    );
    expect(await infoOf(agentId)).toEqual(info);
  });

  it('is asked for', async () => {
    const { agent, agentId } = await connect();
    system.api.parts.bridge.askPresence(agentId);
    expect(await agent.take('system_info_request')).toMatchObject({ timestamp: expect.any(String) });
  });
});

describe('the shared agent token', () => {
  it('replaced: what it let in is closed', async () => {
    const agentId = `boot-${randomUUID().slice(0, 8)}`;
    const agent = await connectLegacyAgent(system.url, `/api/v1/ws/${agentId}?token=${AGENT_TOKEN}`);
    open.push(agent);
    agent.send({ type: 'register', data: { agent_id: agentId, hostname: agentId } });
    await agent.take('welcome');
    await agent.take('welcome');
    const own = await connect();
    await system.call('POST', '/api/system/rotate-token', {});
    expect((await agent.closed).code).toBe(4004);
    const late = await connectLegacyAgent(system.url, `/api/v1/ws/${agentId}?token=${AGENT_TOKEN}`);
    expect((await late.closed).code).toBe(1008);
    await barrier(own.agent);
    expect(JSON.stringify(system.lines)).not.toContain(AGENT_TOKEN);
  });
});
