/** One agent's credential in the wrong hands: what it can do to others, to the ledger and to the server's memory. */
import { randomUUID } from 'node:crypto';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { RunFrame } from '../../contracts/agent-protocol.ts';
import type { BatchView, CommandView } from '../../contracts/commands.ts';
import {
  connectScriptedAgent,
  outputFrame,
  resultFrame,
  type ScriptedAgent,
  type ScriptedAgentOptions,
  startedFrame,
  summaryOf,
} from '../support/scripted-agent.ts';
import { type System, startSystem } from '../support/system.ts';

let system: System;
let identities: Record<'good' | 'evil', { agentId: string; agentToken: string }>;
const opened: ScriptedAgent[] = [];

beforeAll(async () => {
  system = await startSystem({ worker: false });
  identities = { good: await system.enrol('good'), evil: await system.enrol('evil') };
});
afterEach(async () => {
  await Promise.all(opened.splice(0).map((agent) => agent.close()));
});
afterAll(() => system.close());

async function connectAs(
  who: 'good' | 'evil',
  more: Partial<ScriptedAgentOptions> = {},
): Promise<ScriptedAgent> {
  const { agentId, agentToken: token } = identities[who];
  const agent = await connectScriptedAgent({ url: system.url, agentId, token, ...more });
  opened.push(agent);
  return agent;
}

/** An agent that is connected, with a command that was sent to it. */
async function withCommand(
  who: 'good' | 'evil',
  act: object = {},
): Promise<{ agent: ScriptedAgent; run: RunFrame }> {
  const agent = await connectAs(who);
  await agent.take('welcome');
  const body = { agentIds: [identities[who].agentId], act: { command: 'true', ...act } };
  const batch = await system.call<BatchView>('POST', '/v1/commands', body);
  const id = batch.commands[0]?.commandId;
  return { agent, run: await agent.take('run', (frame) => frame.commandId === id) };
}
const commandOf = (id: string) => system.call<CommandView>('GET', `/v1/commands/${id}`);
const untilState = (id: string, state: string) =>
  system.until(
    () => commandOf(id),
    (command) => command.state === state,
    `command ${id} ${state}`,
  );
/** Everything this agent sent so far has been read and stored. */
async function settled(agent: ScriptedAgent): Promise<void> {
  const commandId = randomUUID();
  agent.send(resultFrame({ commandId, digest: '1'.repeat(64) }));
  await agent.take('resultAck', (frame) => frame.commandId === commandId);
}

describe('another agent’s command', () => {
  it('is neither started, nor fed, nor ended, nor claimed, nor moved by its journal', async () => {
    const { agent: good, run } = await withCommand('good');
    const evil = await connectAs('evil', { journalId: good.journalId });
    await evil.take('welcome');
    evil.send(startedFrame(run));
    evil.send(outputFrame(run, 'stdout', 0, 'forged'));
    evil.send(resultFrame(run, { exitCode: 0, stdout: summaryOf('forged') }));
    evil.send({ type: 'notKnown', commandId: run.commandId });
    evil.send({ type: 'claim', commandId: run.commandId, digest: run.digest });
    const refused = await evil.take('claimRefused');
    expect(refused).toMatchObject({ commandId: run.commandId, state: 'unknown' });
    await settled(evil);
    expect(await commandOf(run.commandId)).toMatchObject({ state: 'sent', stdout: { bytes: 0 } });
    expect(evil.frames.filter(({ type }) => type === 'run')).toEqual([]);
    good.send(startedFrame(run));
    good.send(resultFrame(run));
    expect(await untilState(run.commandId, 'succeeded')).toMatchObject({ stdout: { bytes: 0 } });
  });

  it('and its identity are out of reach: a hello in its name ends the socket', async () => {
    const good = await connectAs('good');
    await good.take('welcome');
    const evil = await connectAs('evil', { agentId: 'good', token: identities.evil.agentToken });
    expect(await evil.closed).toBe(1008);
    expect(good.readyState()).toBe(1);
  });
});

describe('lies about its own command', () => {
  it('with offsets and numbers of any size: refused frame by frame, or bounded', async () => {
    const { agent, run } = await withCommand('evil', { outputCapBytes: 1_000 });
    agent.send(startedFrame(run));
    const output = { type: 'output', commandId: run.commandId, stream: 'stdout', bytes: 'eA==' };
    for (const offset of [-1, 1.5, 2 ** 60, Number.NaN, '0', null]) agent.send({ ...output, offset });
    for (let i = 0; i < 6; i++) expect(await agent.take('error')).toMatchObject({ code: 'malformed_frame' });
    agent.send({ ...output, offset: Number.MAX_SAFE_INTEGER });
    expect(await agent.take('outputAck')).toMatchObject({ nextOffset: 0 });
    agent.send(outputFrame(run, 'stdout', 0, 'x'.repeat(60_000)));
    agent.send(outputFrame(run, 'stdout', 60_000, 'x'.repeat(60_000)));
    const liar = {
      ...summaryOf('x'.repeat(1_000)),
      totalBytes: Number.MAX_SAFE_INTEGER,
      sha256: 'f'.repeat(64),
    };
    agent.send(
      resultFrame(run, {
        stdout: liar,
        startedAt: '1970-01-01T00:00:00Z',
        finishedAt: '9999-12-31T23:59:59Z',
      }),
    );
    const command = await untilState(run.commandId, 'succeeded');
    expect(command).toMatchObject({ stdout: { bytes: 1_000, truncated: true } });
    expect(new Date(command.finishedAt ?? 0).getFullYear()).toBe(new Date().getFullYear());
    expect(new Date(command.startedAt ?? 0).getFullYear()).toBe(new Date().getFullYear());
  });

  it('numbers that no column holds cost it its socket, and others nothing', async () => {
    const { agent: evil, run } = await withCommand('evil');
    const { agent: good, run: other } = await withCommand('good');
    evil.send(startedFrame(run));
    evil.send(resultFrame(run, { exitCode: Number.MAX_SAFE_INTEGER, durationMs: Number.MAX_SAFE_INTEGER }));
    good.send(startedFrame(other));
    good.send(resultFrame(other));
    await untilState(other.commandId, 'succeeded');
    expect(good.readyState()).toBe(1);
    const { state } = await commandOf(run.commandId);
    expect(['sent', 'running', 'succeeded', 'failed']).toContain(state);
  });

  it('an outcome that was told is not told otherwise', async () => {
    const { agent, run } = await withCommand('evil');
    agent.send(resultFrame(run, { outcome: 'failed', exitCode: 7, reason: 'exit_code' }));
    agent.send(startedFrame(run));
    agent.send(outputFrame(run, 'stdout', 0, 'late'));
    agent.send(resultFrame(run, { outcome: 'succeeded' }));
    await settled(agent);
    const command = await commandOf(run.commandId);
    expect(command.stdout.bytes).toBe(0);
    expect(command.state === 'succeeded').toBe(false);
  });
});

describe('floods', () => {
  const MEMORY_MARGIN_BYTES = 120 * 1024 * 1024;

  it('of claims and errors leave room for everybody else, in the pool, the log and the memory', async () => {
    const evil = await connectAs('evil');
    await evil.take('welcome');
    const before = process.memoryUsage().rss;
    const digest = '0'.repeat(64);
    for (let i = 0; i < 3_000; i++) evil.send({ type: 'claim', commandId: randomUUID(), digest });
    for (let i = 0; i < 3_000; i++) evil.send({ type: 'error', code: 'x', message: 'y'.repeat(200) });
    const since = performance.now();
    const { agent: good, run } = await withCommand('good');
    good.send(startedFrame(run));
    good.send(resultFrame(run));
    await untilState(run.commandId, 'succeeded');
    expect(performance.now() - since).toBeLessThan(5_000);
    await system.until(
      async () => evil.frames.filter(({ type }) => type === 'claimRefused').length,
      (count) => count === 3_000,
      'all claims refused',
      25_000,
    );
    await settled(evil);
    expect(system.lines.filter(({ event }) => event === 'agent_error').length).toBeLessThanOrEqual(20);
    expect(process.memoryUsage().rss - before).toBeLessThan(MEMORY_MARGIN_BYTES);
  });

  it('of sockets that say nothing are refused beyond a few, and the live one stays', async () => {
    const live = await connectAs('evil');
    await live.take('welcome');
    const silent = await Promise.all(Array.from({ length: 20 }, () => connectAs('evil', { greets: false })));
    await system.until(
      async () => silent.filter((agent) => agent.readyState() !== 1).length,
      (count) => count >= 5,
      'the sockets too many',
    );
    expect(silent.filter((agent) => agent.readyState() === 1).length).toBeLessThan(16);
    expect(live.readyState()).toBe(1);
    for (const agent of silent) agent.cut();
    const good = await connectAs('good');
    await good.take('welcome');
    // Their places are free again.
    await system.until(
      async () => {
        const again = await connectAs('evil', { greets: false });
        const isOpen = again.readyState() === 1;
        again.cut();
        return isOpen;
      },
      (isOpen) => isOpen,
      'a place for a new socket',
    );
  });

  it('to one that does not read are bounded, and nobody waits for it', async () => {
    const slow = await connectAs('evil');
    await slow.take('welcome');
    slow.pause();
    const before = process.memoryUsage().rss;
    const act = { command: `true ${'x'.repeat(100_000)}` };
    const both = { agentIds: ['evil'], act };
    for (let i = 0; i < 150; i++) await system.call('POST', '/v1/commands', both);
    const { agent: good, run } = await withCommand('good');
    good.send(resultFrame(run));
    await untilState(run.commandId, 'succeeded');
    expect(process.memoryUsage().rss - before).toBeLessThan(MEMORY_MARGIN_BYTES);
    slow.resume();
  });
});
