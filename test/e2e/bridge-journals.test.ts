/** What a hello's journal can vouch for, and how an outcome that was not known is found after all. */
import { randomUUID } from 'node:crypto';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { type ConnectedAgent, type Ledger, ledgerOf, only } from '../support/ledger.ts';
import { outputFrame, resultFrame, startedFrame, summaryOf } from '../support/scripted-agent.ts';
import { type System, startSystem } from '../support/system.ts';

let system: System;
let ledger: Ledger;
const open: ConnectedAgent[] = [];

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
/** An agent with one command that runs and one that is only sent. */
const withTwo = async (given: Parameters<Ledger['connect']>[0] = {}) => {
  const agent = await connect(given);
  const running = await ledger.start(agent.agentId, 'sleep 1000');
  const runningFrame = await agent.take('run');
  agent.send(startedFrame(runningFrame));
  await ledger.until(running.commandId, 'running');
  const sent = await ledger.start(agent.agentId, 'true');
  const sentFrame = await agent.take('run');
  return { agent, running: runningFrame, sent: sentFrame, runningRow: running, sentRow: sent };
};

describe('the same journal', () => {
  it('is offered what is sent, and asked about what runs', async () => {
    const { agent, running, sent } = await withTwo();
    agent.send(outputFrame(running, 'stdout', 0, 'abc'));
    await agent.take('outputAck');
    agent.cut();
    const again = await connect({ ...agent, journalId: agent.journalId });
    expect(again.resetJournal).toBe(false);
    expect(await again.take('run', (run) => run.commandId === running.commandId)).toMatchObject({
      resume: true,
      digest: running.digest,
      offsets: { stdout: 3, stderr: 0 },
    });
    expect(await again.take('run', (run) => run.commandId === sent.commandId)).toMatchObject({
      resume: false,
    });
    again.send(startedFrame(running)); // The agent's answer to a resume repeats what it said.
    again.send(resultFrame(running, { stdout: summaryOf('abc') }));
    again.send(resultFrame(sent));
    for (const { commandId } of [running, sent]) await ledger.until(commandId, 'succeeded');
    expect(await ledger.events(running.commandId)).toEqual([
      'command.sent',
      'command.started',
      'command.finished',
    ]);
  });

  it('that does not know what it runs makes it unknown', async () => {
    const { agent, running, sent } = await withTwo();
    agent.cut();
    const again = await connect({ ...agent, journalId: agent.journalId });
    await again.take('run', (run) => run.commandId === running.commandId);
    again.send({ type: 'notKnown', commandId: running.commandId });
    expect(await ledger.until(running.commandId, 'unknown')).toMatchObject({ reason: 'journal_lost' });
    expect((await ledger.command(sent.commandId)).state).toBe('sent');
  });
});

describe('another journal', () => {
  it('can vouch for nothing: what is out becomes unknown', async () => {
    const { agent, runningRow, sentRow } = await withTwo();
    agent.cut();
    const wiped = await connect({ ...agent, journalId: randomUUID() });
    for (const row of [runningRow, sentRow]) {
      expect(await ledger.command(row.commandId)).toMatchObject({ state: 'unknown', reason: 'journal_lost' });
      expect(await ledger.batch(row.batchId)).toMatchObject({ pending: 0, finishedAt: expect.any(String) });
    }
    expect(wiped.frames.filter((frame) => frame.type === 'run')).toEqual([]);
    const next = await ledger.start(agent.agentId);
    expect((await wiped.take('run')).commandId).toBe(next.commandId);
  });

  it('has no say about what was sent to the first', async () => {
    const { agent, running } = await withTwo();
    agent.cut();
    const wiped = await connect({ ...agent, journalId: randomUUID() });
    wiped.send(outputFrame(running, 'stdout', 0, 'forged'));
    wiped.send(resultFrame(running));
    await wiped.take('resultAck');
    expect(await ledger.command(running.commandId)).toMatchObject({ state: 'unknown', stdout: { bytes: 0 } });
  });
});

describe('a journal that was rolled back', () => {
  it('vouches for nothing, must be replaced, and is sent nothing until it is', async () => {
    const { agent, runningRow, sentRow } = await withTwo({ journalSeq: 10 });
    agent.cut();
    const back = await connect({ ...agent, journalId: agent.journalId, journalSeq: 9 });
    expect(back.resetJournal).toBe(true);
    for (const row of [runningRow, sentRow])
      expect(await ledger.command(row.commandId)).toMatchObject({ state: 'unknown', reason: 'journal_lost' });
    const waiting = await ledger.start(agent.agentId);
    expect(waiting.state).toBe('queued');
    const renewed = await connect({ ...agent, journalId: randomUUID(), journalSeq: 0 });
    expect(renewed.resetJournal).toBe(false);
    expect((await renewed.take('run')).commandId).toBe(waiting.commandId);
    expect(back.frames.filter((frame) => frame.type === 'run')).toEqual([]);
  });

  it('is noticed by what presence said last', async () => {
    const agent = await connect({ journalSeq: 1 });
    agent.send({ type: 'presence', journalSeq: 40, running: 0, metrics: null });
    await system.until(
      () =>
        ledger.sql<{ journal_seq: number }>(
          'select journal_seq from agent_connections where agent_id = :id',
          { id: agent.agentId },
        ),
      ([row]) => row?.journal_seq === 40,
      'the presence report',
    );
    agent.cut();
    expect((await connect({ ...agent, journalId: agent.journalId, journalSeq: 39 })).resetJournal).toBe(true);
  });
});

describe('late evidence', () => {
  it('resolves unknown once: an added event, audited; the batch stays as it was', async () => {
    const { agent, running, runningRow } = await withTwo();
    agent.send(outputFrame(running, 'stdout', 0, 'one,'));
    await agent.take('outputAck');
    agent.cut();
    (await connect({ ...agent, journalId: randomUUID() })).cut();
    const unknown = await ledger.until(running.commandId, 'unknown');
    const finished = await ledger.batch(runningRow.batchId);

    const restored = await connect({ ...agent, journalId: agent.journalId });
    restored.send(outputFrame(running, 'stdout', 4, 'two'));
    await restored.take('outputAck');
    const evidence = resultFrame(running, { outcome: 'failed', exitCode: 7, stdout: summaryOf('one,two') });
    restored.send(evidence);
    await restored.take('resultAck');
    const resolved = await ledger.command(running.commandId);
    expect(resolved).toMatchObject({
      state: 'failed',
      exitCode: 7,
      finishedAt: unknown.finishedAt,
      resolvedAt: expect.any(String),
      stdout: { bytes: 7, sha256: summaryOf('one,two').sha256 },
    });
    restored.send(resultFrame(running));
    await restored.take('resultAck');
    expect(await ledger.command(running.commandId)).toMatchObject({ state: 'failed', exitCode: 7 });

    expect(await ledger.events(running.commandId)).toEqual([
      ...['command.sent', 'command.started', 'command.finished', 'command.resolved'],
    ]);
    expect(await ledger.auditCount('command.resolved', running.commandId)).toBe(1);
    const batch = await ledger.batch(runningRow.batchId);
    expect(batch).toMatchObject({ pending: 0, finishedAt: finished.finishedAt });
    expect(only(batch.commands).state).toBe('failed');
    const outbox = await ledger.sql('select 1 from outbox');
    expect(outbox).toEqual([]);
  });

  it('under another digest resolves nothing', async () => {
    const { agent, running } = await withTwo();
    agent.cut();
    (await connect({ ...agent, journalId: randomUUID() })).cut();
    await ledger.until(running.commandId, 'unknown');
    const restored = await connect({ ...agent, journalId: agent.journalId });
    restored.send(
      resultFrame({ ...running, digest: 'd'.repeat(64) }, { outcome: 'rejected', exitCode: null }),
    );
    await restored.take('resultAck');
    restored.send(resultFrame(running, { outcome: 'unknown', exitCode: null, reason: 'agent_restarted' }));
    await restored.take('resultAck');
    expect(await ledger.command(running.commandId)).toMatchObject({ state: 'unknown', resolvedAt: null });
  });
});
