/** One request, however often it is sent, is one command; nothing leaves before it is on the record, or changed. */
import { randomUUID } from 'node:crypto';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { BatchView } from '../../contracts/commands.ts';
import { type ConnectedAgent, type Ledger, ledgerOf, only } from '../support/ledger.ts';
import { resultFrame } from '../support/scripted-agent.ts';
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
const runsOf = (agent: ConnectedAgent) => agent.frames.filter((frame) => frame.type === 'run');
const act = { command: 'true' };
/** Everything sent to this socket before has arrived. */
const barrier = async (agent: ConnectedAgent) => {
  const commandId = randomUUID();
  agent.send(resultFrame({ commandId, digest: '0'.repeat(64) }));
  await agent.take('resultAck', (frame) => frame.commandId === commandId);
};

describe('a command id the client chose', () => {
  it('with the same act is the same command, with another act or agent a conflict', async () => {
    const [agent, other] = [await connect(), await connect()];
    const commandId = randomUUID();
    const first = await ledger.post({ agents: [agent.agentId], act, commandId });
    const second = await ledger.post({ agents: [agent.agentId], act, commandId });
    expect([first.status, second.status]).toEqual([201, 200]);
    expect(second.body.batchId).toBe(first.body.batchId);
    for (const request of [
      { agents: [agent.agentId], act: { command: 'false' } },
      { agents: [agent.agentId], act: { ...act, timeoutMs: 1234 } },
      { agents: [other.agentId], act },
    ]) {
      const conflict = await ledger.post({ ...request, commandId });
      expect(conflict).toMatchObject({ status: 409, body: { code: 'command_conflict' } });
    }
    await barrier(agent);
    expect(runsOf(agent)).toHaveLength(1);
    expect(runsOf(other)).toHaveLength(0);
  });

  it('in twenty requests at once is one command', async () => {
    const agent = await connect();
    const commandId = randomUUID();
    const replies = await Promise.all(
      Array.from({ length: 20 }, () => ledger.post({ agents: [agent.agentId], act, commandId })),
    );
    expect(replies.map((reply) => reply.status).sort()).toEqual([...Array(19).fill(200), 201]);
    expect(new Set(replies.map((reply) => reply.body.batchId)).size).toBe(1);
    await barrier(agent);
    expect(runsOf(agent)).toHaveLength(1);
  });

  it('in requests at once with different acts is one of them, and conflicts', async () => {
    const agent = await connect();
    const commandId = randomUUID();
    const replies = await Promise.all(
      Array.from({ length: 10 }, (_, at) =>
        ledger.post({ agents: [agent.agentId], act: { command: `echo ${at % 2}` }, commandId }),
      ),
    );
    expect(replies.map((reply) => reply.status).sort()).toEqual([
      200,
      200,
      200,
      200,
      201,
      ...Array(5).fill(409),
    ]);
    await barrier(agent);
    expect(runsOf(agent)).toHaveLength(1);
  });

  it('goes with one agent only', async () => {
    const [agent, other] = [await connect(), await connect()];
    const reply = await ledger.post({ agents: [agent.agentId, other.agentId], act, commandId: randomUUID() });
    expect(reply).toMatchObject({ status: 422, body: { code: 'validation_failed' } });
  });
});

describe('an Idempotency-Key', () => {
  it('sent again answers the same batch and runs nothing again, whatever has become of it', async () => {
    const agent = await connect();
    const headers = { 'idempotency-key': randomUUID() };
    const first = await ledger.post({ agents: [agent.agentId], act, headers });
    agent.send(resultFrame(await agent.take('run')));
    await ledger.until(only(first.body.commands).commandId, 'succeeded');
    const again = await ledger.post({ agents: [agent.agentId], act, headers });
    expect([first.status, again.status]).toEqual([201, 200]);
    expect(again.body.batchId).toBe(first.body.batchId);
    // How long to wait for the answer is no part of what was asked.
    const waiting = await ledger.post({ agents: [agent.agentId], act, headers, waitMs: 1000 });
    expect(waiting).toMatchObject({ status: 200, body: { batchId: first.body.batchId, pending: 0 } });
    expect(await ledger.post({ agents: [agent.agentId], act: { command: 'false' }, headers })).toMatchObject({
      status: 422,
      body: { code: 'idempotency_conflict' },
    });
    expect(runsOf(agent)).toHaveLength(1);
  });

  it('in twenty requests at once is one batch', async () => {
    const agents = [await connect(), await connect()];
    const headers = { 'idempotency-key': randomUUID() };
    const replies = await Promise.all(
      Array.from({ length: 20 }, () =>
        ledger.post({ agents: agents.map((agent) => agent.agentId), act, headers }),
      ),
    );
    expect(replies.map((reply) => reply.status).sort()).toEqual([...Array(19).fill(200), 201]);
    expect(new Set(replies.map((reply) => reply.body.batchId)).size).toBe(1);
    for (const agent of agents) {
      await barrier(agent);
      expect(runsOf(agent)).toHaveLength(1);
    }
  });

  it('of a request that was refused is free again', async () => {
    const agent = await connect();
    const headers = { 'idempotency-key': randomUUID() };
    expect((await ledger.post({ agents: ['nobody'], act, headers })).status).toBe(404);
    expect((await ledger.post({ agents: [agent.agentId], act, headers })).status).toBe(201);
  });
});

describe('without a key or an id', () => {
  it('two requests are two commands', async () => {
    const agent = await connect();
    const [one, two] = [await ledger.start(agent.agentId), await ledger.start(agent.agentId)];
    expect(one.commandId).not.toBe(two.commandId);
    await agent.take('run');
    await agent.take('run');
  });
});

describe('audit before act (P6)', () => {
  it('no frame leaves while the audit row cannot be committed', async () => {
    const agent = await connect();
    const locker = new pg.Client({ connectionString: system.database.url });
    await locker.connect();
    try {
      await locker.query('begin; lock table audit_events in exclusive mode');
      const posted = ledger.run({ agents: [agent.agentId], act });
      await system.until(
        async () =>
          (
            await locker.query(
              `select 1 from pg_locks where relation = 'audit_events'::regclass and not granted`,
            )
          ).rowCount,
        (waiting) => waiting === 1,
        'the audit insert to wait',
      );
      await barrier(agent);
      expect(runsOf(agent)).toEqual([]);
      await locker.query('rollback');
      const batch = await posted;
      const run = await agent.take('run');
      expect(run.commandId).toBe(only(batch.commands).commandId);
    } finally {
      await locker.end();
    }
  });

  it('when the agent reads the frame, everybody can read the audit row', async () => {
    const agent = await connect();
    const reader = new pg.Client({ connectionString: system.database.url });
    await reader.connect();
    try {
      for (let round = 0; round < 10; round += 1) {
        const commandId = randomUUID();
        const seen = new Promise<number | null>((resolve, reject) => {
          agent.onFrame((frame) => {
            if (frame.type !== 'run' || frame.commandId !== commandId) return;
            reader
              .query(
                `select 1 from audit_events where action = 'command.run' and details->'commands' @> $1::jsonb`,
                [JSON.stringify([{ commandId, agentId: agent.agentId }])],
              )
              .then((found) => resolve(found.rowCount), reject);
          });
        });
        await ledger.run({ agents: [agent.agentId], act, commandId });
        expect(await seen).toBe(1);
      }
    } finally {
      await reader.end();
    }
  });
});

describe('approved = executed (P5)', () => {
  it('an act that was changed in the database is not sent, and says so in the log', async () => {
    const offline = await connect();
    await offline.close();
    const batch: BatchView = await ledger.run({
      agents: [offline.agentId],
      act: { command: 'echo approved' },
    });
    const { commandId, digest } = only(batch.commands);
    const change = `update acts set act = jsonb_set(act, '{script}', '"echo tampered"') where digest = $1`;
    await tamper(change, digest);
    const back = await connect(offline);
    await system.until(
      async () => system.lines.filter((line) => line.event === 'act_digest_mismatch'),
      (lines) => lines.some((line) => line.commandId === commandId),
      'the log line',
    );
    // Another command gets through.
    await ledger.start(back.agentId);
    expect((await back.take('run')).commandId).not.toBe(commandId);
    expect(runsOf(back)).toHaveLength(1);
    expect((await ledger.command(commandId)).state).toBe('sent');
  });

  it('an act that is none any more holds up nothing else', async () => {
    const [offline, other] = [await connect(), await connect()];
    await offline.close();
    const broken = await ledger.start(offline.agentId, 'echo broken');
    const whole = await ledger.start(offline.agentId, 'echo whole');
    await tamper(`update acts set act = '{"mode":"odd"}' where digest = $1`, broken.digest);
    const back = await connect(offline);
    expect((await back.take('run')).commandId).toBe(whole.commandId);
    expect(system.lines.find((line) => line.event === 'act_unreadable')).toMatchObject({
      commandId: broken.commandId,
      agentId: offline.agentId,
    });
    await ledger.start(other.agentId, 'echo other');
    await other.take('run');
    // Neither does it keep the agent from connecting again.
    const again = await connect({ ...back, journalId: back.journalId });
    expect((await again.take('run')).commandId).toBe(whole.commandId);
    expect(runsOf(again)).toHaveLength(1);
  });
});

/** As somebody who may do anything to the database. */
async function tamper(change: string, digest: string): Promise<void> {
  const client = new pg.Client({ connectionString: system.database.url });
  await client.connect();
  try {
    await expect(client.query(change, [digest])).rejects.toThrow();
    await client.query('alter table acts disable trigger acts_write_once');
    expect((await client.query(change, [digest])).rowCount).toBe(1);
    await client.query('alter table acts enable trigger acts_write_once');
  } finally {
    await client.end();
  }
}
