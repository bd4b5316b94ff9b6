/** Commands that wait, expire, are overdue, or are not wanted any more. */
import { randomUUID } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { expireQueued, markOverdueUnknown } from '../../domain/commands/overdue.ts';
import { type ConnectedAgent, type Ledger, ledgerOf } from '../support/ledger.ts';
import { resultFrame, startedFrame } from '../support/scripted-agent.ts';
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
const domain = () => system.api.parts.domain;

describe('an agent that is away', () => {
  it('gets what waits for it when it is back, in order', async () => {
    const { agentId, agentToken } = await system.enrol('sleeper');
    const log = join(system.env.STEELTHREAD_HOME ?? '', 'sleeper.log');
    const waiting = [];
    for (const word of ['one', 'two', 'three'])
      waiting.push(await ledger.start(agentId, `echo ${word} >> ${log}`));
    expect(waiting.map((command) => command.state)).toEqual(['queued', 'queued', 'queued']);
    const agent = await system.startAgent({ agentId, token: agentToken, maxParallel: 1 });
    for (const { commandId } of waiting) await ledger.until(commandId, 'succeeded');
    expect(readFileSync(log, 'utf8')).toBe('one\ntwo\nthree\n');
    await agent.close();
  });

  it('because it stops: what it had not started runs when it is back', async () => {
    const { agentId, agentToken } = await system.enrol('restarting');
    const log = join(system.env.STEELTHREAD_HOME ?? '', 'restarting.log');
    const first = await system.startAgent({ agentId, token: agentToken, maxParallel: 1 });
    const long = await ledger.start(agentId, `echo started >> ${log}; sleep 0.5; echo ended >> ${log}`);
    await ledger.until(long.commandId, 'running');
    const queuedThere = await ledger.start(agentId, `echo later >> ${log}`);
    expect(queuedThere.state).toBe('sent');
    const stopping = first.agent.close({ drainMs: 10_000 });
    await ledger.until(long.commandId, 'succeeded');
    await stopping;
    const meanwhile = await ledger.start(agentId, `echo last >> ${log}`);
    const again = await system.startAgent({ agentId, token: agentToken, home: first.home, maxParallel: 1 });
    for (const { commandId } of [queuedThere, meanwhile]) await ledger.until(commandId, 'succeeded');
    expect(readFileSync(log, 'utf8')).toBe('started\nended\nlater\nlast\n');
    await again.close();
  });

  it('does not get what has expired', async () => {
    const { agentId, agentToken } = await system.enrol('late');
    const lasting = await ledger.start(agentId);
    const brief = await ledger.start(agentId, 'true', { expiryMs: 1000 });
    const ended = await system.until(
      async () => {
        await expireQueued(domain(), 100);
        return ledger.command(brief.commandId);
      },
      (command) => command.state === 'expired',
      'the expiry',
    );
    expect(ended).toMatchObject({ reason: 'not_started_in_time', sentAt: null, startedAt: null });
    expect(await ledger.batch(brief.batchId)).toMatchObject({ pending: 0 });
    const agent = await connect({ agentId, token: agentToken });
    expect((await agent.take('run')).commandId).toBe(lasting.commandId);
    expect(agent.frames.filter((frame) => frame.type === 'run')).toHaveLength(1);
  });

  it('does not get it either when nobody has called it expired yet', async () => {
    const { agentId, agentToken } = await system.enrol('later');
    const brief = await ledger.start(agentId, 'true', { expiryMs: 1000 });
    await system.until(
      () =>
        ledger.sql<{ over: boolean }>(
          'select expires_at <= now() as over from commands where command_id = :id',
          { id: brief.commandId },
        ),
      ([row]) => row?.over === true,
      'the time to pass',
    );
    const agent = await connect({ agentId, token: agentToken });
    const next = await ledger.start(agentId);
    expect((await agent.take('run')).commandId).toBe(next.commandId);
    expect((await ledger.command(brief.commandId)).state).toBe('queued');
    await expireQueued(domain(), 100);
    expect((await ledger.command(brief.commandId)).state).toBe('expired');
  });
});

describe('an agent that owes an outcome', () => {
  const makeOverdue = (commandId: string) =>
    ledger.sql(`update commands set overdue_at = now() - interval '1 second' where command_id = :id`, {
      id: commandId,
    });

  it('for too long leaves the command unknown, sent or running; its word still counts', async () => {
    const agent = await connect();
    const [sent, running] = [await ledger.start(agent.agentId), await ledger.start(agent.agentId)];
    const sentRun = await agent.take('run', (run) => run.commandId === sent.commandId);
    const run = await agent.take('run', (frame) => frame.commandId === running.commandId);
    agent.send(startedFrame(run));
    await ledger.until(running.commandId, 'running');
    await markOverdueUnknown(domain(), 100);
    expect((await ledger.command(sent.commandId)).state).toBe('sent'); // Not due yet.
    await makeOverdue(sent.commandId);
    await makeOverdue(running.commandId);
    expect(await markOverdueUnknown(domain(), 100)).toBe(2);
    for (const { commandId } of [sent, running])
      expect(await ledger.command(commandId)).toMatchObject({ state: 'unknown', reason: 'agent_silent' });
    agent.send(resultFrame(run));
    agent.send(resultFrame(sentRun, { outcome: 'expired', exitCode: null }));
    await agent.take('resultAck');
    await agent.take('resultAck');
    expect(await ledger.command(running.commandId)).toMatchObject({
      state: 'succeeded',
      resolvedAt: expect.any(String),
    });
    expect(await ledger.command(sent.commandId)).toMatchObject({
      state: 'expired',
      resolvedAt: expect.any(String),
    });
  });

  it('is due by the clock of the database: expiry + 60 s when sent, timeout + 60 s when it runs', async () => {
    const agent = await connect();
    const { commandId } = await ledger.start(agent.agentId, 'true', { timeoutMs: 5_000, expiryMs: 20_000 });
    const due = async () =>
      (
        await ledger.sql<{ sent: number; started: number | null }>(
          `select extract(epoch from overdue_at - sent_at)::float as sent,
                  extract(epoch from overdue_at - started_at)::float as started
           from commands where command_id = :id`,
          { id: commandId },
        )
      )[0];
    expect(Math.round((await due())?.sent ?? 0)).toBe(80);
    agent.send(startedFrame(await agent.take('run')));
    await ledger.until(commandId, 'running');
    expect(Math.round((await due())?.started ?? 0)).toBe(65);
  });
});

describe('cancel', () => {
  it('of what is queued ends it at once', async () => {
    const { agentId } = await system.enrol('absent');
    const { commandId, batchId } = await ledger.start(agentId);
    expect(await ledger.cancel(commandId)).toMatchObject({ state: 'canceled', sentAt: null });
    expect(await ledger.cancel(commandId)).toMatchObject({ state: 'canceled' });
    expect(await ledger.batch(batchId)).toMatchObject({ pending: 0 });
    expect(await ledger.auditCount('command.cancel', commandId)).toBe(2);
  });

  it('of what was sent but not heard of is a tombstone: the run frame that comes late is refused', async () => {
    const scripted = await connect();
    const { commandId } = await ledger.start(scripted.agentId, 'echo never');
    await scripted.take('run'); // It never says that it started.
    scripted.cut();
    const asked = await ledger.cancel(commandId);
    expect(asked).toMatchObject({ state: 'sent', cancelRequestedAt: expect.any(String) });
    const again = await connect({ ...scripted, journalId: scripted.journalId });
    expect(await again.take('cancel')).toMatchObject({ commandId });
    expect(again.frames.filter((frame) => frame.type === 'run')).toEqual([]);
    again.send(
      resultFrame(
        { commandId, digest: '0'.repeat(64) },
        { outcome: 'canceled', exitCode: null, startedAt: null },
      ),
    );
    await again.take('resultAck');
    expect(await ledger.command(commandId)).toMatchObject({ state: 'canceled', startedAt: null });
  });

  it('is repeated until the agent answers', async () => {
    const agent = await connect();
    const { commandId } = await ledger.start(agent.agentId);
    const run = await agent.take('run');
    agent.send(startedFrame(run));
    await ledger.until(commandId, 'running');
    await ledger.cancel(commandId);
    await agent.take('cancel');
    await agent.take('cancel'); // By the next scan.
    agent.send(resultFrame(run, { outcome: 'canceled', exitCode: null, reason: 'asked' }));
    await ledger.until(commandId, 'canceled');
  });

  it('of a batch ends the queued and stops the rest', async () => {
    const agent = await connect();
    const away = (await system.enrol(`away-${randomUUID().slice(0, 8)}`)).agentId;
    const batch = await ledger.run({ agents: [agent.agentId, away], act: { command: 'true' } });
    const run = await agent.take('run');
    await system.call('POST', `/v1/batches/${batch.batchId}/cancel`, {});
    await agent.take('cancel');
    agent.send(resultFrame(run)); // Too late: it had finished.
    await agent.take('resultAck');
    const ended = await ledger.batch(batch.batchId);
    expect(ended.pending).toBe(0);
    expect(Object.fromEntries(ended.commands.map((command) => [command.agentId, command.state]))).toEqual({
      [agent.agentId]: 'succeeded',
      [away]: 'canceled',
    });
  });
});

describe.runIf(process.platform === 'linux')('a process tree that does not want to end', () => {
  /** Grandchildren in sessions of their own, all deaf to TERM. */
  const stubborn = (ready: string): string => `
    child='trap "" TERM HUP; while :; do sleep 0.2; done'
    setsid sh -c "$child" &
    setsid nohup sh -c "setsid sh -c '\${child}' & trap '' TERM; while :; do sleep 0.2; done" > /dev/null 2>&1 &
    sh -c "$child" &
    trap '' TERM
    echo ready > ${ready}
    while :; do sleep 0.2; done`;
  /** Processes whose environment carries the command's id. */
  const survivors = (commandId: string): string[] =>
    readdirSync('/proc').filter((name) => {
      if (!/^\d+$/.test(name)) return false;
      try {
        return readFileSync(`/proc/${name}/environ`, 'latin1').includes(
          `STEELTHREAD_COMMAND_ID=${commandId}`,
        );
      } catch {
        return false;
      }
    });

  it('is dead after a cancel, and after a timeout', async () => {
    const agent = await system.startAgent({ agentId: 'killer', kill: { graceMs: 200 } });
    const ready = join(system.env.STEELTHREAD_HOME ?? '', 'stubborn-ready');
    const canceled = await ledger.start(agent.agentId, stubborn(ready), { timeoutMs: 60_000 });
    await system.until(
      async () => existsSync(ready) && survivors(canceled.commandId).length >= 5,
      (isReady) => isReady,
      'the tree',
    );
    await ledger.cancel(canceled.commandId);
    await ledger.until(canceled.commandId, 'canceled');
    expect(survivors(canceled.commandId)).toEqual([]);

    const timed = await ledger.start(agent.agentId, stubborn(`${ready}-2`), { timeoutMs: 1_000 });
    expect(await ledger.until(timed.commandId, 'timed_out')).toMatchObject({ reason: 'timeout' });
    expect(survivors(timed.commandId)).toEqual([]);
    await agent.close();
  });
});
