/** Who may hold an agent's socket, and what becomes of the sockets that do not. */
import { randomUUID } from 'node:crypto';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { closeCodes, MAX_FRAME_BYTES } from '../../contracts/agent-protocol.ts';
import type { AgentView } from '../../contracts/agents.ts';
import { type ConnectedAgent, type Ledger, ledgerOf } from '../support/ledger.ts';
import { connectScriptedAgent, resultFrame, startedFrame } from '../support/scripted-agent.ts';
import { type System, startSystem } from '../support/system.ts';

let system: System;
let ledger: Ledger;
const open: { close(): Promise<void> }[] = [];

beforeAll(async () => {
  system = await startSystem({ worker: false });
  ledger = ledgerOf(system);
});
afterEach(async () => {
  await Promise.all(open.splice(0).map((agent) => agent.close()));
});
afterAll(() => system.close());

const connect = async (given: Parameters<Ledger['connect']>[0] = {}) => {
  const agent = await ledger.connect(given);
  open.push(agent);
  return agent;
};
const greet = async (given: Partial<Parameters<typeof connectScriptedAgent>[0]>) => {
  const agent = await connectScriptedAgent({ url: system.url, agentId: 'x', token: 'x', ...given });
  open.push(agent);
  return agent;
};
const connectionOf = async (agentId: string) =>
  (
    await ledger.sql<{ epoch: number; bridge_id: string | null }>(
      'select epoch, bridge_id from agent_connections where agent_id = :agentId',
      { agentId },
    )
  )[0];
const barrier = async (agent: ConnectedAgent) => {
  const commandId = randomUUID();
  agent.send(resultFrame({ commandId, digest: '0'.repeat(64) }));
  await agent.take('resultAck', (frame) => frame.commandId === commandId);
};

describe('an agent that an operator has let drain', () => {
  it('is online as soon as it may work again, whatever it reported meanwhile', async () => {
    const agent = await connect();
    const statusAfter = async (act: 'drain' | 'resume') =>
      (await system.call<AgentView>('POST', `/v1/agents/${agent.agentId}/${act}`)).status;
    const report = async (running: number) => {
      agent.send({ type: 'presence', journalSeq: 1, running, metrics: null });
      return system.until(
        () => system.call<AgentView>('GET', `/v1/agents/${agent.agentId}`),
        ({ runningCount }) => runningCount === running,
        'the presence report',
      );
    };
    expect(await statusAfter('drain')).toBe('draining');
    expect((await report(3)).status).toBe('draining');
    expect(await statusAfter('resume')).toBe('online');
    // What it says of itself stays.
    agent.send({ type: 'draining' });
    expect((await report(4)).status).toBe('draining');
    expect(await statusAfter('resume')).toBe('draining');
  });
});

describe('a newer socket of the same agent', () => {
  it('raises the epoch, closes the older one, and gets what waits', async () => {
    const older = await connect();
    const newer = await connect({ ...older, journalId: older.journalId });
    expect(newer.epoch).toBe(older.epoch + 1);
    expect(await older.closed).toBe(closeCodes.superseded);
    const command = await ledger.start(older.agentId);
    await newer.take('run');
    expect(older.frames.filter((frame) => frame.type === 'run')).toEqual([]);
    expect(await ledger.command(command.commandId)).toMatchObject({ state: 'sent' });
    expect(await connectionOf(older.agentId)).toMatchObject({
      epoch: newer.epoch,
      bridge_id: expect.any(String),
    });
  });

  it('beside a half-open one: what the older had sent on its way still counts as evidence', async () => {
    const older = await connect();
    const command = await ledger.start(older.agentId);
    const run = await older.take('run');
    older.pause(); // It hears nothing of its end.
    const newer = await connect({ ...older, journalId: older.journalId });
    expect(await newer.take('run')).toMatchObject({ commandId: command.commandId, resume: false });
    older.send(startedFrame(run));
    older.send(resultFrame(run));
    // The ack goes to the socket that is there now.
    expect(await newer.take('resultAck')).toMatchObject({ commandId: command.commandId });
    expect((await ledger.command(command.commandId)).state).toBe('succeeded');
    // A claim of the older one is none.
    const offline = await ledger.start(older.agentId);
    expect((await newer.take('run')).commandId).toBe(offline.commandId);
    older.send({ type: 'claim', commandId: offline.commandId, digest: offline.digest });
    older.send({ type: 'presence', journalSeq: 99, running: 99, metrics: null });
    older.resume();
    expect(await older.closed).toBe(closeCodes.superseded);
    expect(older.frames.filter((frame) => frame.type === 'run')).toHaveLength(1);
    await barrier(newer);
  });

  it('wins however many come at once', async () => {
    const first = await connect();
    const many = await Promise.all(
      Array.from({ length: 8 }, () => greet({ ...first, journalId: first.journalId })),
    );
    // Whoever lost before its welcome was sent gets none.
    const ends = await Promise.all(many.map((agent) => Promise.race([agent.closed, agent.take('welcome')])));
    await system.until(
      async () => many.filter((agent) => agent.readyState() === 1).length,
      (count) => count === 1,
      'one socket to be left',
    );
    const [last] = many.filter((agent) => agent.readyState() === 1);
    if (last === undefined) throw new Error('no socket is left');
    const others = many.filter((agent) => agent !== last);
    const codes = await Promise.all(others.map((agent) => agent.closed));
    expect(codes).toEqual(others.map(() => closeCodes.superseded));
    expect(ends[many.indexOf(last)]).toMatchObject({ epoch: first.epoch + 8 });
    await ledger.start(last.agentId);
    await last.take('run');
    expect(last.readyState()).toBe(1);
  });
});

describe('a hello', () => {
  it('must come in time', async () => {
    const { agentToken, agentId } = await system.enrol('silent');
    const agent = await greet({ agentId, token: agentToken, greets: false });
    expect(await agent.closed).toBe(closeCodes.badHello);
  });

  it('must be the first frame, well formed, and of this protocol', async () => {
    const { agentToken, agentId } = await system.enrol('rude');
    const silent = { agentId, token: agentToken, greets: false };
    const early = await greet(silent);
    early.send({ type: 'presence', journalSeq: 0, running: 0, metrics: null });
    expect(await early.closed).toBe(closeCodes.badHello);
    const broken = await greet(silent);
    broken.sendText('{"type":"hello","\u00e9\u00e9\u00e9":1}');
    expect(await broken.closed).toBe(closeCodes.badHello);
    const future = await greet({ ...silent, greets: true, hello: { protocol: 2 } });
    expect(await future.closed).toBe(closeCodes.badHello);
    expect(await connectionOf(agentId)).toBeUndefined();
  });

  it('must be of the agent whose credential it is', async () => {
    const one = await system.enrol('self');
    await system.enrol('somebody-else');
    const agent = await greet({ agentId: 'somebody-else', token: one.agentToken });
    expect(await agent.closed).toBe(closeCodes.policy);
    expect(await connectionOf('somebody-else')).toBeUndefined();
  });

  it('may hold what no text column can', async () => {
    const agent = await connect({
      hello: { hostname: 'h\0st\u001b[31m', version: 'v\0\ud800', os: 'o\0s', capabilities: ['sh\0ell'] },
    });
    const { hostname } = await system.call<{ hostname: string }>('GET', `/v1/agents/${agent.agentId}`);
    expect(hostname).toBe('h\uFFFDst\uFFFD[31m');
  });

  it('twice is a bad frame and changes nothing', async () => {
    const agent = await connect();
    agent.sendText(
      JSON.stringify({
        ...{ type: 'hello', protocol: 1, agentId: agent.agentId, journalId: agent.journalId, journalSeq: 0 },
        ...{ delivery: 'websocket', hostname: 'h', os: 'o', arch: 'a', version: 'v' },
        ...{ capabilities: [], shells: [], defaultShell: '' },
      }),
    );
    expect(await agent.take('error')).toMatchObject({ code: 'unexpected_frame' });
    expect(await connectionOf(agent.agentId)).toMatchObject({ epoch: agent.epoch });
  });
});

describe('a credential', () => {
  it('that is missing, wrong or a person’s is refused with 1008 and no frame', async () => {
    const { agentId } = await system.enrol('locked');
    for (const token of ['', 'sta_nonsense', system.token()]) {
      const agent = await greet({ agentId, token });
      expect(await agent.closed).toBe(closeCodes.policy);
      expect(agent.frames).toEqual([]);
    }
  });

  it('that is revoked ends the open socket, and nothing can be sent to the agent any more', async () => {
    const agent = await connect();
    const command = await ledger.start(agent.agentId);
    const run = await agent.take('run');
    const before = performance.now();
    await system.call('POST', `/v1/agents/${agent.agentId}/revoke`);
    expect(await agent.closed).toBe(closeCodes.revoked);
    expect(performance.now() - before).toBeLessThan(5_000);
    expect((await ledger.post({ agents: [agent.agentId], act: { command: 'true' } })).status).toBe(403);
    const again = await greet(agent);
    expect(await again.closed).toBe(closeCodes.policy);
    expect((await ledger.command(run.commandId)).state).toBe('sent');
    expect(command.commandId).toBe(run.commandId);
  });

  it('that is rotated ends the open socket; the new one connects', async () => {
    const agent = await connect();
    const { agentToken } = await system.call<{ agentToken: string }>(
      'POST',
      `/v1/agents/${agent.agentId}/rotate-token`,
    );
    expect(await agent.closed).toBe(closeCodes.revoked);
    expect(await (await greet(agent)).closed).toBe(closeCodes.policy);
    const renewed = await connect({ agentId: agent.agentId, token: agentToken, journalId: agent.journalId });
    await ledger.start(agent.agentId);
    await renewed.take('run');
  });

  it('that is rotated between the upgrade and the hello does not connect', async () => {
    const { agentId, agentToken } = await system.enrol('in-between');
    const agent = await greet({ agentId, token: agentToken, greets: false });
    await system.call('POST', `/v1/agents/${agentId}/rotate-token`);
    agent.greet();
    expect(await agent.closed).toBe(closeCodes.revoked);
    expect(await connectionOf(agentId)).toMatchObject({ bridge_id: null });
  });
});

describe('a connection that ends', () => {
  it('is released, also when it was cut', async () => {
    const agent = await connect();
    agent.send({ type: 'presence', journalSeq: 0, running: 1, metrics: null });
    agent.cut();
    await system.until(
      () => connectionOf(agent.agentId),
      (row) => row?.bridge_id === null,
      'the release',
    );
    const { status } = await system.call<{ status: string }>('GET', `/v1/agents/${agent.agentId}`);
    expect(status).toBe('offline');
  });

  it('is told when the server stops', async () => {
    const other = await system.openApi();
    const agent = await connect({ url: other.url });
    await other.close();
    expect(await agent.closed).toBe(closeCodes.goingAway);
    expect(await connectionOf(agent.agentId)).toMatchObject({ bridge_id: null });
  });
});

describe('an agent that reads slowly', () => {
  it('gets more than the buffer’s limit in the end, and holds up nobody else', async () => {
    const slow = await connect();
    const quick = await connect();
    await slow.close();
    // Together some 18 MB of run frames, each as large as a frame may be.
    const environment = Object.fromEntries(
      Array.from({ length: 29 }, (_, at) => [`NAME_${at}`, 'x'.repeat(32 * 1024)]),
    );
    const count = 18;
    for (let sent = 0; sent < count; sent += 1) await ledger.start(slow.agentId, 'true', { environment });
    const again = await connectScriptedAgent({ url: system.url, ...slow, token: slow.token });
    open.push(again);
    again.pause();
    const command = await ledger.start(quick.agentId);
    await quick.take('run', (run) => run.commandId === command.commandId);
    again.resume();
    await system.until(
      async () => again.frames.filter((frame) => frame.type === 'run').length,
      (received) => received === count,
      'all run frames',
    );
    expect(again.readyState()).toBe(1);
    const sizes = again.frames.map((frame) => JSON.stringify(frame).length);
    expect(Math.max(...sizes)).toBeLessThan(MAX_FRAME_BYTES);
  });
});
