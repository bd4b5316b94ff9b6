/** Two bridges on one database, and bells that do not ring: rows are the truth wherever the socket is. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ApiServer } from '../../api/server.ts';
import { closeCodes } from '../../contracts/agent-protocol.ts';
import { runCommands } from '../../domain/commands/run.ts';
import type { Actor, DomainDeps } from '../../domain/deps.ts';
import { type Ledger, ledgerOf, only } from '../support/ledger.ts';
import { resultFrame } from '../support/scripted-agent.ts';
import { type System, startSystem } from '../support/system.ts';

let system: System;
let other: ApiServer & { url: string };
let ledger: Ledger;
let admin: Actor;

beforeAll(async () => {
  system = await startSystem({ worker: false });
  other = await system.openApi();
  ledger = ledgerOf(system);
  const user = only(await ledger.sql<{ id: string }>("select id from users where username = 'admin'"));
  const principal = {
    kind: 'user' as const,
    id: user.id,
    name: 'admin',
    roles: ['admin' as const],
    sessionId: null,
  };
  admin = { principal, address: null, requestId: null };
});
afterAll(() => system.close());

/** Puts a command on the ledger and tells nobody. */
const runSilently = async (agentId: string): Promise<string> => {
  const { db, log, limits } = system.api.parts.domain;
  const silent = { events: () => {}, agents: () => {}, output: () => {}, outbox: () => {} };
  const deps: DomainDeps = { db, log, limits, announce: silent };
  const { batchId } = await runCommands(deps, admin, { agentIds: [agentId], act: { command: 'true' } }, null);
  return only((await ledger.batch(batchId)).commands).commandId;
};
/** End all LISTEN connections of this database. */
const killListeners = () =>
  ledger.sql(`select pg_terminate_backend(pid) from pg_stat_activity
              where application_name = 'steelthread-listen' and datname = current_database()`);

describe('an agent on another bridge than the request', () => {
  it('gets its command by a bell, and the request hears the outcome', async () => {
    const agent = await ledger.connect({ url: other.url });
    const waiting = ledger.run({ agents: [agent.agentId], act: { command: 'true' }, waitMs: 10_000 });
    agent.send(resultFrame(await agent.take('run')));
    const batch = await waiting;
    expect(only(batch.commands)).toMatchObject({ state: 'succeeded' });
    expect(await ledger.events(only(batch.commands).commandId)).toEqual([
      ...['command.queued', 'command.sent', 'command.finished'],
    ]);
    await agent.close();
  });

  it('is told of a cancel', async () => {
    const agent = await ledger.connect({ url: other.url });
    const { commandId } = await ledger.start(agent.agentId);
    const run = await agent.take('run');
    await ledger.cancel(commandId);
    expect(await agent.take('cancel')).toMatchObject({ commandId });
    agent.send(resultFrame(run, { outcome: 'canceled', exitCode: null }));
    await ledger.until(commandId, 'canceled');
    await agent.close();
  });
});

describe('an agent that moves', () => {
  it('takes its commands along; the older socket is closed by its own bridge', async () => {
    const before = await ledger.connect();
    const { commandId } = await ledger.start(before.agentId);
    await before.take('run');
    before.pause(); // It does not notice.
    const after = await ledger.connect({ ...before, url: other.url, journalId: before.journalId });
    expect(after.epoch).toBe(before.epoch + 1);
    const run = await after.take('run');
    expect(run).toMatchObject({ commandId, resume: false });
    // The first bridge still holds a socket, at an epoch that has passed: it may not send by it.
    const next = await ledger.start(before.agentId);
    expect(await after.take('run')).toMatchObject({ commandId: next.commandId });
    after.send(resultFrame(run));
    await ledger.until(commandId, 'succeeded');
    before.resume();
    expect(await before.closed).toBe(closeCodes.superseded);
    expect(before.frames.filter((frame) => frame.type === 'run')).toHaveLength(1);
    await after.close();
  });

  it('to and fro runs each command once', async () => {
    const first = await ledger.connect();
    const ids: string[] = [];
    const seen: string[] = [];
    let agent = first;
    for (let round = 0; round < 6; round += 1) {
      const started = Promise.all([1, 2, 3].map(() => ledger.start(first.agentId)));
      const url = round % 2 === 0 ? other.url : system.url;
      const moved = await ledger.connect({ ...first, url, journalId: first.journalId });
      ids.push(...(await started).map((command) => command.commandId));
      agent = moved;
    }
    // What an earlier socket was sent and did not answer is offered to the last: all of it, once each here.
    await system.until(
      async () =>
        new Set(agent.frames.flatMap((frame) => (frame.type === 'run' ? [frame.commandId] : []))).size,
      (size) => size === ids.length,
      'all commands at the last socket',
    );
    for (const frame of agent.frames) {
      if (frame.type !== 'run') continue;
      seen.push(frame.commandId);
      agent.send(resultFrame(frame));
    }
    for (const id of ids) await ledger.until(id, 'succeeded');
    expect(seen.sort()).toEqual([...ids].sort());
    await agent.close();
  });
});

describe('a bell that does not ring', () => {
  it('is made up for by the scan of the rows', async () => {
    const agent = await ledger.connect({ url: other.url });
    const commandId = await runSilently(agent.agentId);
    expect((await agent.take('run')).commandId).toBe(commandId);
    await agent.close();
  });

  it('because LISTEN was cut off is made up for when it is back', async () => {
    const agent = await ledger.connect({ url: other.url });
    await killListeners();
    const { commandId } = await ledger.start(agent.agentId);
    const run = await agent.take('run');
    expect(run.commandId).toBe(commandId);
    await killListeners();
    agent.send(resultFrame(run));
    await agent.take('resultAck');
    // The hub of the first API hears of it by its poll at the latest.
    const batch = await ledger.run({
      agents: [agent.agentId],
      act: { command: 'true' },
      commandId,
      waitMs: 10_000,
    });
    expect(batch.pending).toBe(0);
    await agent.close();
  });
});
