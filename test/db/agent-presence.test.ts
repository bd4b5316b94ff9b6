/** Presence and metrics: one statement for the fleet, bounded rings, offline by the clock of the database. */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createPresenceReports } from '../../api/bridge/presence-reports.ts';
import { METRICS_STEPS } from '../../contracts/agent-metrics.ts';
import type { AgentMetrics } from '../../contracts/agent-protocol.ts';
import { OFFLINE_AFTER_MS } from '../../contracts/agents.ts';
import { connectAgent } from '../../domain/agents/connections.ts';
import { readMetricsHistory } from '../../domain/agents/metrics.ts';
import {
  heartbeatOf,
  type PresenceReport,
  recordPresence,
  sweepPresence,
} from '../../domain/agents/presence.ts';
import { getAgent, listUsableAgents, revokeAgent } from '../../domain/agents/registry.ts';
import { actorOf, type IdentityStack, startIdentity } from '../support/identity.ts';

let stack: IdentityStack;
beforeAll(async () => {
  stack = await startIdentity({ withAdmin: false });
});
afterAll(() => stack.close());

const operator = actorOf('operator');
const bridgeId = randomUUID();

const metricsOf = (cpuPercent: number): AgentMetrics => ({
  ...{ cpuPercent, loadAverage: 1, memoryTotalBytes: 200, memoryUsedBytes: 50 },
  disks: [
    { mount: '/', totalBytes: 100, usedBytes: 10 },
    { mount: '/data', totalBytes: 100, usedBytes: 80 },
  ],
  ...{ networkReceivedBytes: null, networkSentBytes: null, processCount: null, uptimeSeconds: 1 },
});

async function addAgent(id = `agent-${randomUUID()}`): Promise<string> {
  await stack.db('agents').insert({ id, hostname: id });
  return id;
}

async function connect(agentId: string, hello: { journalId?: string; journalSeq?: number } = {}) {
  const { journalId = randomUUID(), journalSeq = 0 } = hello;
  return connectAgent(stack.deps, {
    hello: {
      ...{ type: 'hello', protocol: 1, agentId, journalId, journalSeq, delivery: 'websocket' },
      ...{ hostname: agentId, os: 'Linux', arch: 'x64', version: '1', capabilities: [], shells: ['sh'] },
      defaultShell: 'sh',
    },
    bridgeId,
    address: '192.0.2.9',
  });
}

const report = (agentId: string, facts: Partial<PresenceReport> = {}): PresenceReport => ({
  ...{ agentId, epoch: 1, journalSeq: 0, running: 0, draining: false, metrics: null },
  ...facts,
});

const typesOf = (agentId: string): string[] =>
  stack.events.filter((event) => event.agentId === agentId).map((event) => event.type);

const age = (agentId: string, seconds: number) =>
  stack.db.raw(
    `update agent_presence set last_seen_at = last_seen_at - ? * interval '1 second',
            heartbeat_at = heartbeat_at - ? * interval '1 second' where agent_id = ?`,
    [seconds, seconds, agentId],
  );

describe('presence', () => {
  it('is online by the hello, offline after a minute of silence, and tells of each change once', async () => {
    const id = await addAgent();
    await connect(id);
    expect(await getAgent(stack.deps, operator, id)).toMatchObject({
      ...{ status: 'online', isAlive: true, address: '192.0.2.9', epoch: 1 },
    });
    await age(id, OFFLINE_AFTER_MS / 1000 - 1);
    await sweepPresence(stack.deps);
    expect(typesOf(id)).toEqual(['agent.connected', 'agent.online']);
    await age(id, 2);
    expect((await getAgent(stack.deps, operator, id)).status).toBe('offline');
    await Promise.all([sweepPresence(stack.deps), sweepPresence(stack.deps)]);
    expect(typesOf(id).slice(2)).toEqual(['agent.disconnected', 'agent.offline']);
    // Its bridge was only slow: the next word of the same epoch brings it back.
    await recordPresence(stack.deps, bridgeId, [report(id, { running: 3 })]);
    expect(await getAgent(stack.deps, operator, id)).toMatchObject({ status: 'online', runningCount: 3 });
    expect(typesOf(id).slice(4)).toEqual(['agent.online']);
  });

  it('takes nothing from an older connection, from the revoked or from nobody, and the rest of the set', async () => {
    const [old, gone, good] = [await addAgent(), await addAgent(), await addAgent()];
    await connect(old);
    await connect(old);
    await connect(gone);
    await connect(good);
    await revokeAgent(stack.deps, operator, gone);
    await recordPresence(stack.deps, bridgeId, [
      ...[report(old, { running: 9 }), report(gone, { running: 9 }), report('nobody', { running: 9 })],
      report(good, { running: 9, journalSeq: 7 }),
    ]);
    const counts = [old, gone, good].map(
      async (id) => (await getAgent(stack.deps, operator, id)).runningCount,
    );
    expect(await Promise.all(counts)).toEqual([0, 0, 9]);
    const [row] = await stack.db('agent_connections').where({ agent_id: good });
    expect(row.journal_seq).toBe(7);
  });

  it('of a heartbeat over HTTP makes an agent alive, not connected', async () => {
    const id = await addAgent();
    const systemInfo = {
      cpu_percent: 12.5,
      memory_percent: 40,
      disk_usage: { 'C:\\': 70 },
      note: 'a\u001bb',
    };
    await recordPresence(stack.deps, bridgeId, [heartbeatOf(id, systemInfo)]);
    expect(await getAgent(stack.deps, operator, id)).toMatchObject({
      ...{ status: 'offline', isAlive: true, metrics: null },
      systemInfo: { ...systemInfo, note: 'a\uFFFDb' },
    });
    const { samples } = await readMetricsHistory(stack.deps, operator, id, 'fine');
    expect(samples).toMatchObject([{ cpuPercent: 12.5, memoryPercent: 40, diskPercent: 70 }]);
    expect(
      (await listUsableAgents(stack.deps, operator, { isAlive: false }, 1000)).map((a) => a.id),
    ).not.toContain(id);
    await age(id, OFFLINE_AFTER_MS / 1000 + 1);
    expect(
      (await listUsableAgents(stack.deps, operator, { isAlive: false }, 1000)).map((a) => a.id),
    ).toContain(id);
    await sweepPresence(stack.deps);
    expect(typesOf(id)).toEqual(['agent.online', 'agent.offline']);
  });

  it('survives what hostile agents say of themselves', async () => {
    const [odd, plain] = [await addAgent(), await addAgent()];
    await connect(odd);
    await connect(plain);
    const metrics = {
      ...metricsOf(1e308),
      memoryTotalBytes: 0,
      disks: [{ mount: '\0\ud800', totalBytes: -1, usedBytes: 1e308 }],
    };
    const systemInfo = {
      big: 'x'.repeat(20_000),
      small: 1,
      deep: { a: { b: { c: { d: { e: { f: 1 } } } } } },
      '\0': 1,
    };
    await recordPresence(stack.deps, bridgeId, [
      report(odd, { metrics, systemInfo, running: Number.MAX_SAFE_INTEGER }),
      report(plain, { metrics: metricsOf(5) }),
    ]);
    expect(await getAgent(stack.deps, operator, odd)).toMatchObject({
      systemInfo: { small: 1, '\uFFFD': 1, deep: { a: { b: { c: { d: { e: null } } } } } },
    });
    expect((await getAgent(stack.deps, operator, odd)).systemInfo).not.toHaveProperty('big');
    expect((await getAgent(stack.deps, operator, plain)).metrics).toMatchObject({ cpuPercent: 5 });
  });
});

describe('the history of metrics', () => {
  it('keeps the last value of a fine step, mean and maximum of a coarse one, and no more than its rings hold', async () => {
    const id = await addAgent();
    await connect(id);
    for (const cpu of [10, 20, 60]) {
      await recordPresence(stack.deps, bridgeId, [report(id, { metrics: metricsOf(cpu) })]);
    }
    const fine = await readMetricsHistory(stack.deps, operator, id, 'fine');
    expect(fine.stepSeconds).toBe(15);
    expect(fine.samples.at(-1)).toMatchObject({ cpuPercent: 60, memoryPercent: 25, diskPercent: 80 });
    const coarse = await readMetricsHistory(stack.deps, operator, id, 'coarse');
    // Two steps where the quarter of an hour ended just then.
    if (coarse.samples.length === 1) {
      expect(coarse.samples[0]).toMatchObject({ cpuPercent: 30, cpuPercentMax: 60, diskPercentMax: 80 });
    }
    // As if the ring had gone round: the slot is written over, and what is older than the ring is not shown.
    for (const [table, { slots }] of [
      ['agent_metrics_fine', METRICS_STEPS.fine],
      ['agent_metrics_coarse', METRICS_STEPS.coarse],
    ] as const) {
      await stack
        .db(table)
        .where({ agent_id: id })
        .update({ bucket: stack.db.raw('bucket - ?', [slots]) });
    }
    for (const resolution of ['fine', 'coarse'] as const) {
      expect((await readMetricsHistory(stack.deps, operator, id, resolution)).samples).toEqual([]);
    }
    await recordPresence(stack.deps, bridgeId, [report(id, { metrics: metricsOf(40) })]);
    for (const resolution of ['fine', 'coarse'] as const) {
      const { samples } = await readMetricsHistory(stack.deps, operator, id, resolution);
      expect(samples).toMatchObject([{ cpuPercent: 40, cpuPercentMax: 40 }]);
    }
    expect(await stack.db('agent_metrics_coarse').where({ agent_id: id })).toHaveLength(1);
  });
});

describe('the reports of a process', () => {
  it('are one statement a second for a whole fleet, the latest word of each', async () => {
    const ids = await Promise.all(Array.from({ length: 300 }, () => addAgent()));
    await stack
      .db('agent_connections')
      .insert(
        ids.map((agent_id) => ({ agent_id, epoch: 1, bridge_id: bridgeId, connected_at: stack.db.fn.now() })),
      );
    const commits: number[] = [];
    const domain = {
      ...stack.deps,
      announce: {
        ...stack.deps.announce,
        events: (rows: readonly unknown[]) => void commits.push(rows.length),
      },
    };
    const reports = createPresenceReports({ domain, bridgeId, log: stack.deps.log });
    for (let round = 0; round < 5; round++) for (const id of ids) reports.add(report(id, { running: round }));
    reports.add(heartbeatOf(ids[0] ?? '', { note: 'by HTTP' }));
    await reports.close();
    expect(commits).toEqual([300]);
    const [sum] = await stack.db('agent_presence').whereIn('agent_id', ids).sum('running_count as sum');
    expect(sum).toEqual({ sum: 4 * 300 });
    expect(await getAgent(stack.deps, operator, ids[0] ?? '')).toMatchObject({
      ...{ status: 'online', systemInfo: { note: 'by HTTP' } },
    });
  });

  it('of the steady fleet write nothing but presence: rows of agents and connections stay as they are', async () => {
    const id = await addAgent();
    await connect(id);
    const versions = () =>
      stack.db
        .select(stack.db.raw('a.xmin::text as a, c.xmin::text as c'))
        .from({ a: 'agents' })
        .join({ c: 'agent_connections' }, 'c.agent_id', 'a.id')
        .where('a.id', id);
    const before = await versions();
    await recordPresence(stack.deps, bridgeId, [report(id, { metrics: metricsOf(1), running: 2 })]);
    expect(await versions()).toEqual(before);
  });
});

describe('copied machines', () => {
  const suspicions = (id: string) =>
    stack.events.filter((event) => event.agentId === id && event.type === 'agent.clone_suspected');

  it('are told by another journal while the older connection lives, or by a journal that went back', async () => {
    const [copied, restored, honest] = [await addAgent(), await addAgent(), await addAgent()];
    await connect(copied);
    await connect(copied);
    await connect(copied);
    expect(suspicions(copied).map((event) => event.data)).toEqual([{ reason: 'other_journal' }]);
    expect((await getAgent(stack.deps, operator, copied)).cloneSuspectedAt).toBeInstanceOf(Date);
    const journalId = randomUUID();
    await connect(restored, { journalId, journalSeq: 10 });
    expect(await connect(restored, { journalId, journalSeq: 9 })).toMatchObject({ resetJournal: true });
    expect(suspicions(restored).map((event) => event.data)).toEqual([{ reason: 'journal_rolled_back' }]);
    await connect(honest, { journalId, journalSeq: 1 });
    await connect(honest, { journalId, journalSeq: 2 });
    await stack.db('agent_connections').where({ agent_id: honest }).update({ bridge_id: null });
    await connect(honest);
    expect(suspicions(honest)).toEqual([]);
  });
});
