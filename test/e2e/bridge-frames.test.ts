/** What the bridge does with frames that are repeated, out of order, wrong, foreign or too many. */
import { randomUUID } from 'node:crypto';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import WebSocket from 'ws';
import type { CommandView } from '../../contracts/commands.ts';
import { execute, inTransaction, query } from '../../db/database.ts';
import { findTerminalSession, insertTerminalSession } from '../../db/terminal-sessions.ts';
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
/** A connected agent that holds the run frame of one command. */
const withRun = async (act: Record<string, unknown> = {}) => {
  const agent = await connect();
  const command = await ledger.start(agent.agentId, 'true', act);
  const run = await agent.take('run', (frame) => frame.commandId === command.commandId);
  return { agent, run, id: command.commandId };
};
/** Everything sent before was dealt with: frames of one socket keep their order. */
const barrier = async (agent: ConnectedAgent) => {
  const commandId = randomUUID();
  agent.send(resultFrame({ commandId, digest: '0'.repeat(64) }));
  await agent.take('resultAck', (frame) => frame.commandId === commandId);
};
const outcomeOf = async (id: string): Promise<CommandView> => ledger.until(id, 'final');

describe('repeated frames', () => {
  it('of started, output and result count once', async () => {
    const { agent, run, id } = await withRun();
    agent.send(startedFrame(run));
    agent.send(startedFrame(run));
    agent.send(outputFrame(run, 'stdout', 0, 'abc'));
    agent.send(outputFrame(run, 'stdout', 0, 'abc'));
    const result = resultFrame(run, { stdout: summaryOf('abc') });
    agent.send(result);
    agent.send(result);
    await agent.take('resultAck');
    agent.send(result);
    await agent.take('resultAck');
    agent.send(startedFrame(run));
    await barrier(agent);
    expect(await outcomeOf(id)).toMatchObject({ state: 'succeeded', stdout: { bytes: 3 } });
    expect((await ledger.download(id, 'stdout')).toString()).toBe('abc');
    expect(await ledger.events(id)).toEqual(['command.sent', 'command.started', 'command.finished']);
    const { batchId } = await ledger.command(id);
    expect(await ledger.batch(batchId)).toMatchObject({ pending: 0, size: 1 });
  });

  it('of a result that says something else does not change the first', async () => {
    const { agent, run, id } = await withRun();
    agent.send(resultFrame(run, { outcome: 'failed', exitCode: 1 }));
    await agent.take('resultAck');
    agent.send(resultFrame(run));
    await agent.take('resultAck');
    expect(await ledger.command(id)).toMatchObject({ state: 'failed', exitCode: 1 });
  });
});

describe('frames out of order', () => {
  it('a result before its output is not taken; the output is asked for', async () => {
    const { agent, run, id } = await withRun();
    const result = resultFrame(run, { stdout: summaryOf('hello'), stderr: summaryOf('oh') });
    agent.send(result);
    expect(await agent.take('outputAck', (ack) => ack.stream === 'stdout')).toMatchObject({ nextOffset: 0 });
    expect(await agent.take('outputAck', (ack) => ack.stream === 'stderr')).toMatchObject({ nextOffset: 0 });
    expect((await ledger.command(id)).state).toBe('sent');
    agent.send(outputFrame(run, 'stdout', 0, 'hello'));
    agent.send(outputFrame(run, 'stderr', 0, 'oh'));
    agent.send(result);
    await agent.take('resultAck');
    expect(await ledger.command(id)).toMatchObject({
      state: 'succeeded',
      startedAt: null,
      stdout: { bytes: 5, sha256: summaryOf('hello').sha256 },
    });
  });

  it('output with a gap is answered with the offset expected', async () => {
    const { agent, run, id } = await withRun();
    agent.send(outputFrame(run, 'stdout', 3, 'def'));
    expect(await agent.take('outputAck')).toMatchObject({ nextOffset: 0 });
    agent.send(outputFrame(run, 'stdout', 0, 'abc'));
    expect(await agent.take('outputAck')).toMatchObject({ nextOffset: 3 });
    // A chunk that overlaps what is stored is refused as a whole: it comes again from the next offset.
    agent.send(outputFrame(run, 'stdout', 1, 'bcdef'));
    expect(await agent.take('outputAck')).toMatchObject({ nextOffset: 3 });
    agent.send(outputFrame(run, 'stdout', 3, 'def'));
    expect(await agent.take('outputAck')).toMatchObject({ nextOffset: 6 });
    agent.send(resultFrame(run, { stdout: summaryOf('abcdef') }));
    await agent.take('resultAck');
    expect((await ledger.download(id, 'stdout')).toString()).toBe('abcdef');
  });

  it('output above the cap is not kept, and leads to the end all the same', async () => {
    const { agent, run, id } = await withRun({ outputCapBytes: 4 });
    agent.send(outputFrame(run, 'stdout', 0, 'abcdef'));
    expect(await agent.take('outputAck')).toMatchObject({ nextOffset: 6 });
    agent.send(outputFrame(run, 'stdout', 6, 'ghi'));
    expect(await agent.take('outputAck')).toMatchObject({ nextOffset: 9 });
    agent.send(resultFrame(run, { stdout: summaryOf('abcdefghi') }));
    await agent.take('resultAck');
    expect((await ledger.command(id)).stdout).toEqual(
      expect.objectContaining({ bytes: 4, totalBytes: 9, truncated: true, sha256: null }),
    );
    expect((await ledger.download(id, 'stdout')).toString()).toBe('abcd');
  });
});

describe('late and foreign frames', () => {
  it('after the outcome are acked and ignored', async () => {
    const { agent, run, id } = await withRun();
    agent.send(resultFrame(run));
    await agent.take('resultAck');
    agent.send(outputFrame(run, 'stdout', 0, 'late'));
    expect(await agent.take('outputAck')).toMatchObject({ nextOffset: 4 });
    agent.send({ type: 'notKnown', commandId: id });
    await barrier(agent);
    expect(await ledger.command(id)).toMatchObject({ state: 'succeeded', stdout: { bytes: 0 } });
  });

  it('of an id the server never had are acked, so that they end', async () => {
    const agent = await connect();
    const commandId = randomUUID();
    agent.send(outputFrame({ commandId }, 'stderr', 10, 'xyz'));
    expect(await agent.take('outputAck')).toMatchObject({ commandId, stream: 'stderr', nextOffset: 13 });
    agent.send(resultFrame({ commandId, digest: 'a'.repeat(64) }));
    expect(await agent.take('resultAck')).toMatchObject({ commandId });
  });

  it('of another agent’s command change nothing', async () => {
    const { agent, run, id } = await withRun();
    const thief = await connect();
    thief.send(startedFrame(run));
    thief.send(outputFrame(run, 'stdout', 0, 'forged'));
    thief.send(resultFrame(run));
    await thief.take('resultAck');
    expect(await ledger.command(id)).toMatchObject({ state: 'sent', stdout: { bytes: 0 } });
    agent.send(resultFrame(run, { outcome: 'failed', exitCode: 9 }));
    await agent.take('resultAck');
    expect(await ledger.command(id)).toMatchObject({ state: 'failed', exitCode: 9 });
  });

  it('a result under another digest is believed only as a refusal', async () => {
    const other = 'b'.repeat(64);
    const { agent, run, id } = await withRun();
    agent.send(resultFrame({ ...run, digest: other }, { outcome: 'rejected', exitCode: null }));
    await agent.take('resultAck');
    expect(await ledger.command(id)).toMatchObject({ state: 'rejected', reason: 'digest_mismatch' });

    const second = await withRun();
    second.agent.send(startedFrame({ ...second.run, digest: other }));
    second.agent.send(resultFrame({ ...second.run, digest: other }));
    await second.agent.take('resultAck');
    expect(await ledger.command(second.id)).toMatchObject({
      state: 'unknown',
      reason: 'digest_mismatch',
      exitCode: null,
    });
  });

  it('a tombstone counts only where a cancel was asked for', async () => {
    const { agent, run, id } = await withRun();
    const tombstone = resultFrame(
      { ...run, digest: '0'.repeat(64) },
      { outcome: 'canceled', exitCode: null, startedAt: null },
    );
    agent.send(tombstone);
    await agent.take('resultAck');
    expect((await ledger.command(id)).state).toBe('unknown');
  });

  it('notKnown for a command that never started there leaves it to the next hello', async () => {
    const { agent, id } = await withRun();
    agent.send({ type: 'draining' });
    agent.send({ type: 'notKnown', commandId: id });
    await barrier(agent);
    expect((await ledger.command(id)).state).toBe('sent');
    await agent.close();
    const again = await connect(agent);
    const offered = await again.take('run');
    expect(offered).toMatchObject({ commandId: id, resume: false });
    again.send(resultFrame(offered));
    await again.take('resultAck');
  });

  it('an outcome the edge table does not know from here is not written', async () => {
    const { agent, run, id } = await withRun();
    agent.send(startedFrame(run));
    agent.send(resultFrame(run, { outcome: 'rejected', exitCode: null }));
    await agent.take('resultAck');
    expect((await ledger.command(id)).state).toBe('running');
    agent.send(resultFrame(run));
    await agent.take('resultAck');
    expect((await ledger.command(id)).state).toBe('succeeded');
  });
});

describe('terminals', () => {
  it('of another agent are neither opened nor ended by what an agent says', async () => {
    const { db } = system.api.parts;
    const [agent, owner] = [await connect(), await connect()];
    const { id: sessionId } = await insertTerminalSession(db, {
      ...{ id: randomUUID(), agentId: owner.agentId, forwardParam: null, cols: 80, rows: 24 },
      ...{ ownerKind: 'user', ownerId: 'somebody', ownerName: 'somebody', address: null },
      ...{ isRecorded: false, recordsInput: false, maxMs: 60_000 },
    });
    const closed = {
      ...{ type: 'terminal.closed', sessionId, reason: 'bad\0 luck', exitCode: 0, signal: null },
      ...{ outputBytes: 0, survivors: 0 },
    };
    agent.send({ type: 'terminal.opened', sessionId, pid: 1, shell: 'sh' });
    agent.send(closed);
    await agent.take('terminal.closedAck');
    expect(await findTerminalSession(db, sessionId)).toMatchObject({ state: 'opening', shell: null });
    owner.send(closed);
    await owner.take('terminal.closedAck');
    expect(await findTerminalSession(db, sessionId)).toMatchObject({
      state: 'ended',
      endReason: 'bad\uFFFD luck',
    });
  });
});

describe('terminals that cannot be looked up', () => {
  it('end the connection, so that their agent names them again', async () => {
    const { db } = system.api.parts;
    const agent = await connect();
    await db.raw('alter table terminal_sessions rename to terminal_sessions_away');
    try {
      agent.send({ type: 'terminal.alive', sessionIds: [randomUUID()] });
      expect(await agent.closed).toBe(1001);
    } finally {
      await db.raw('alter table terminal_sessions_away rename to terminal_sessions');
    }
    const sessionId = randomUUID();
    const again = await connect(agent);
    again.send({ type: 'terminal.alive', sessionIds: [sessionId] });
    expect(await again.take('terminal.close')).toMatchObject({ sessionId, reason: 'unknown' });
  });
});

describe('odd values', () => {
  it('do no harm: control characters, lone surrogates, exit codes of Windows', async () => {
    const [odd, plain] = [await withRun(), await withRun()];
    odd.agent.send(
      resultFrame(odd.run, {
        outcome: 'failed',
        exitCode: 3_221_225_786,
        signal: 'SIG\0',
        reason: 'a\0b\u001b[2J\ud800',
      }),
    );
    plain.agent.send(resultFrame(plain.run));
    await odd.agent.take('resultAck');
    await plain.agent.take('resultAck');
    expect(await ledger.command(odd.id)).toMatchObject({
      exitCode: 3_221_225_786,
      signal: 'SIG\uFFFD',
      reason: 'a\uFFFDb\uFFFD[2J\uFFFD',
    });
    expect((await ledger.command(plain.id)).state).toBe('succeeded');
  });

  it('in one agent’s presence keep no other agent’s from being stored', async () => {
    const [odd, plain] = [await connect(), await connect()];
    const metrics = {
      ...{ cpuPercent: 1, loadAverage: 1, memoryTotalBytes: 1, memoryUsedBytes: 1 },
      ...{ networkReceivedBytes: 1, networkSentBytes: 1, processCount: 1, uptimeSeconds: 1 },
      disks: [{ mount: '/a\0b\ud800', totalBytes: 2, usedBytes: 1 }],
    };
    odd.send({ type: 'presence', journalSeq: 1, running: Number.MAX_SAFE_INTEGER, metrics });
    plain.send({ type: 'presence', journalSeq: 5, running: 7, metrics: null });
    await system.until(
      () =>
        ledger.sql<{ running_count: number }>(
          'select running_count from agent_presence where agent_id = :id',
          {
            id: plain.agentId,
          },
        ),
      ([row]) => row?.running_count === 7,
      'the presence report',
    );
    const [stored] = await ledger.sql<{ metrics: { disks: unknown[] } }>(
      'select metrics from agent_facts where agent_id = :id',
      { id: odd.agentId },
    );
    expect(stored?.metrics.disks).toEqual([{ mount: '/a\uFFFDb\uFFFD', totalBytes: 2, usedBytes: 1 }]);
  });
});

describe('bad frames', () => {
  it('are answered by name and are not fatal', async () => {
    const { agent, run } = await withRun();
    agent.send({ type: 'file.open', session: 1 });
    expect(await agent.take('error')).toMatchObject({
      code: 'unknown_frame',
      message: expect.stringContaining('file.open'),
    });
    agent.sendText('{nonsense');
    expect(await agent.take('error')).toMatchObject({ code: 'malformed_frame' });
    agent.sendText('"text"');
    expect(await agent.take('error')).toMatchObject({ code: 'malformed_frame' });
    agent.send({ type: 'result', commandId: 'no uuid' });
    expect(await agent.take('error')).toMatchObject({ code: 'malformed_frame' });
    agent.send({ ...outputFrame(run, 'stdout', 0, 'x'), offset: -1 });
    expect(await agent.take('error')).toMatchObject({ code: 'malformed_frame' });
    agent.sendBinary(Buffer.from([1, 2, 3]));
    expect(await agent.take('error')).toMatchObject({ code: 'binary_frame' });
    agent.send({ type: 'hello' });
    expect(await agent.take('error')).toMatchObject({ code: 'malformed_frame' });
    agent.send(resultFrame(run));
    await agent.take('resultAck');
  });

  it('too many of them close the socket, and what follows them does not count', async () => {
    const { agent, run, id } = await withRun();
    for (let count = 0; count < 40; count += 1) agent.send({ type: `odd-${count}` });
    agent.send(resultFrame(run));
    expect(await agent.closed).toBe(1008);
    expect((await ledger.command(id)).state).toBe('sent');
  });

  it('a frame above the limit closes the socket', async () => {
    const agent = await connect();
    agent.sendText(`{"type":"presence","padding":"${'x'.repeat(1024 * 1024)}"}`);
    expect(await agent.closed).toBe(1009);
  });
});

describe('a flood', () => {
  it('is read no faster than it is stored, and all of it is stored', async () => {
    const { agent, run, id } = await withRun();
    const chunk = Buffer.alloc(48 * 1024, 'flood');
    const count = 200;
    for (let at = 0; at < count; at += 1) agent.send(outputFrame(run, 'stdout', at * chunk.length, chunk));
    const all = Buffer.concat(Array.from({ length: count }, () => chunk));
    agent.send(resultFrame(run, { stdout: summaryOf(all) }));
    await agent.take('resultAck');
    expect((await ledger.command(id)).stdout).toMatchObject({ bytes: all.length, truncated: false });
    expect((await ledger.download(id, 'stdout')).equals(all)).toBe(true);
    expect(agent.readyState()).toBe(WebSocket.OPEN);
  });

  it('of small frames about unknown ids keeps the socket and the others alive', async () => {
    const noisy = await connect();
    const { agent, run } = await withRun();
    for (let count = 0; count < 5_000; count += 1) noisy.send({ type: 'notKnown', commandId: randomUUID() });
    agent.send(resultFrame(run));
    await agent.take('resultAck');
    await barrier(noisy);
    expect(noisy.readyState()).toBe(WebSocket.OPEN);
  });
});

describe('a flood of words about terminals', () => {
  it('takes one connection of the pool, not all', async () => {
    const { db } = system.api.parts;
    const agent = await connect();
    await inTransaction(db, async (trx) => {
      await execute(trx, 'lock table terminal_sessions in access exclusive mode');
      const sessionIds = [randomUUID()];
      for (let count = 0; count < 100; count += 1) agent.send({ type: 'terminal.alive', sessionIds });
      // All of them were read, and others are served meanwhile.
      await barrier(agent);
      const [waiting] = await query<{ count: number }>(
        trx,
        `select count(*) as count from pg_stat_activity
         where datname = current_database() and wait_event_type = 'Lock'`,
      );
      expect(waiting?.count).toBeLessThanOrEqual(1);
    });
    for (let count = 0; count < 100; count += 1) await agent.take('terminal.close');
  });
});

describe('claims', () => {
  it('hand out a queued command once, to its agent and under its digest only', async () => {
    const agent = await connect({ hello: { delivery: 'temporal' } });
    const other = await connect({ hello: { delivery: 'temporal' } });
    const command = only((await ledger.run({ agents: [agent.agentId], act: { command: 'true' } })).commands);
    const claim = { type: 'claim', commandId: command.commandId, digest: command.digest } as const;
    expect(command.state).toBe('queued');
    other.send(claim);
    expect(await other.take('claimRefused')).toMatchObject({ state: 'unknown' });
    agent.send({ ...claim, digest: 'c'.repeat(64) });
    expect(await agent.take('claimRefused')).toMatchObject({ state: 'unknown' });
    agent.send({ ...claim, commandId: randomUUID() });
    expect(await agent.take('claimRefused')).toMatchObject({ state: 'unknown' });
    expect((await ledger.command(command.commandId)).state).toBe('queued');
    agent.send(claim);
    const run = await agent.take('run');
    expect((await ledger.command(command.commandId)).state).toBe('sent');
    // Asked again (a retried activity): offered again, the journal decides.
    agent.send(claim);
    expect(await agent.take('run')).toMatchObject({ commandId: command.commandId });
    agent.send(resultFrame(run));
    await agent.take('resultAck');
    agent.send(claim);
    expect(await agent.take('claimRefused')).toMatchObject({ state: 'succeeded' });
  });

  it('of what is to be canceled are refused, and the cancel comes again', async () => {
    const agent = await connect({ hello: { delivery: 'temporal' } });
    const { commandId, digest } = await ledger.start(agent.agentId);
    agent.send({ type: 'claim', commandId, digest });
    await agent.take('run');
    await ledger.cancel(commandId);
    await agent.take('cancel');
    agent.send({ type: 'claim', commandId, digest });
    await agent.take('cancel');
    expect(await agent.take('claimRefused')).toMatchObject({ commandId, state: 'sent' });
  });
});
