/** Agents at the end of a bad line: one byte a second, and frames in as many pieces as they have bytes. */
import { randomUUID } from 'node:crypto';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { markOverdueUnknown } from '../../domain/commands/overdue.ts';
import { type ConnectedAgent, type Ledger, ledgerOf, only } from '../support/ledger.ts';
import { outputFrame, resultFrame, startedFrame, summaryOf } from '../support/scripted-agent.ts';
import { type SlowProxy, startSlowProxy } from '../support/slow-proxy.ts';
import { type System, startSystem } from '../support/system.ts';

let system: System;
let ledger: Ledger;
let proxy: SlowProxy;
const open: ConnectedAgent[] = [];

beforeAll(async () => {
  system = await startSystem({ worker: false });
  ledger = ledgerOf(system);
  proxy = await startSlowProxy(system.url);
});
afterEach(async () => {
  proxy.restore();
  await Promise.all(open.splice(0).map((agent) => agent.close()));
});
afterAll(async () => {
  await proxy.close();
  await system.close();
});

const connect = async (given: Parameters<Ledger['connect']>[0] = {}) => {
  const agent = await ledger.connect(given);
  open.push(agent);
  return agent;
};
const stateOf = async (commandId: string) => (await ledger.command(commandId)).state;
const presenceOf = async (agentId: string) =>
  (
    await ledger.sql<{ running_count: number }>(
      'select running_count from agent_presence where agent_id = :agentId',
      { agentId },
    )
  )[0]?.running_count;

describe('a line of one byte a second, on which nothing is ever acked', () => {
  it('holds up nobody: others get their commands, are heard and finish; its own end, and count when they come', async () => {
    const slow = await connect({ url: proxy.url });
    const quick = await Promise.all(Array.from({ length: 10 }, () => connect()));
    proxy.slowDown();

    // In its buffer, and half a frame of what it says: it is in the middle of both for as long as this lasts.
    const waiting = [];
    for (let at = 0; at < 20; at += 1)
      waiting.push(await ledger.start(slow.agentId, `true ${'x'.repeat(50_000)}`));
    slow.send({ type: 'presence', journalSeq: 0, running: 9, metrics: null });

    for (let round = 0; round < 3; round += 1) {
      const agents = [slow.agentId, ...quick.map((agent) => agent.agentId)];
      const batch = await ledger.run({ agents, act: { command: `echo ${round}` } });
      for (const agent of quick) {
        const run = await agent.take('run', (frame) =>
          batch.commands.some(({ commandId }) => commandId === frame.commandId),
        );
        agent.send({ type: 'presence', journalSeq: 0, running: round + 1, metrics: null });
        agent.send(startedFrame(run));
        agent.send(outputFrame(run, 'stdout', 0, 'quick'));
        await agent.take('outputAck', ({ commandId }) => commandId === run.commandId);
        agent.send(resultFrame(run, { stdout: summaryOf('quick') }));
        await agent.take('resultAck', ({ commandId }) => commandId === run.commandId);
      }
      const { commands, pending } = await ledger.batch(batch.batchId);
      expect(pending).toBe(1);
      for (const { agentId, state } of commands)
        expect(state).toBe(agentId === slow.agentId ? 'sent' : 'succeeded');
      waiting.push(only(commands.filter(({ agentId }) => agentId === slow.agentId)));
    }
    for (const { agentId } of quick)
      await system.until(
        () => presenceOf(agentId),
        (running) => running === 3,
        'its presence',
      );
    // All that happened while the slow one had not got one frame, and had not got rid of one.
    expect(slow.frames.filter((frame) => frame.type === 'run')).toEqual([]);
    expect(proxy.trickled()).toBeLessThan(50_000);
    expect(await presenceOf(slow.agentId)).not.toBe(9);
    expect(slow.readyState()).toBe(1);

    // Nobody waits for it for ever either.
    const [first] = waiting;
    await ledger.sql(`update commands set overdue_at = now() - interval '1 second' where command_id = :id`, {
      id: first?.commandId,
    });
    await markOverdueUnknown(system.api.parts.domain, 100);
    expect(await stateOf(first?.commandId ?? '')).toBe('unknown');

    proxy.restore();
    for (const { commandId } of waiting) {
      const run = await slow.take('run', (frame) => frame.commandId === commandId);
      slow.send(startedFrame(run));
      slow.send(resultFrame(run));
    }
    for (const { commandId } of waiting) expect(await ledger.until(commandId, 'succeeded')).toBeDefined();
    expect(slow.frames.filter((frame) => frame.type === 'run')).toHaveLength(waiting.length);
  });
});

describe('frames in pieces', () => {
  it('in fragments, in segments of a byte, repeated and in another order, are what they are together', async () => {
    const agent = await connect({ url: proxy.url });
    proxy.split();
    const [one, two] = [await ledger.start(agent.agentId), await ledger.start(agent.agentId)];
    const runs = await Promise.all(
      [one, two].map(({ commandId }) => agent.take('run', (frame) => frame.commandId === commandId)),
    );
    for (const run of [...runs].reverse()) {
      const result = resultFrame(run, { stdout: summaryOf('grüße, welt') });
      agent.sendSplit(result, 7); // Too early: it is asked for the bytes.
      agent.sendSplit(startedFrame(run), 1);
      agent.sendSplit(startedFrame(run), 100);
      agent.sendSplit(outputFrame(run, 'stdout', 3, Buffer.from('grüße, welt').subarray(3)), 5); // A gap.
      agent.sendSplit(outputFrame(run, 'stdout', 0, Buffer.from('grüße, welt').subarray(0, 3)), 2);
      agent.sendSplit(outputFrame(run, 'stdout', 3, Buffer.from('grüße, welt').subarray(3)), 64);
      agent.sendSplit(outputFrame(run, 'stdout', 0, Buffer.from('grüße, welt').subarray(0, 3)), 9);
      agent.sendSplit(result, 3);
      agent.sendSplit(result, 1_000);
    }
    for (const { commandId } of [one, two]) {
      await ledger.until(commandId, 'succeeded');
      expect((await ledger.download(commandId, 'stdout')).toString()).toBe('grüße, welt');
    }
    // Everything that was said before has been dealt with.
    const stranger = randomUUID();
    agent.sendSplit(resultFrame({ commandId: stranger, digest: 'a'.repeat(64) }), 11);
    await agent.take('resultAck', ({ commandId }) => commandId === stranger);
    for (const { commandId } of [one, two])
      expect(await ledger.events(commandId)).toEqual(['command.sent', 'command.started', 'command.finished']);
    expect(agent.frames.filter((frame) => frame.type === 'error')).toEqual([]);
  });
});
