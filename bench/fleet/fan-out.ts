/** One command to a thousand agents, from the request to the answer that all results are recorded. */
import pg from 'pg';
import type { BatchView } from '../../contracts/commands.ts';
import type { Installation } from '../installation.ts';
import { type Figures, figuresOf, timeMs } from '../statistics.ts';
import { startFleet } from './agents.ts';
import { createMeter } from './meters.ts';

export interface FanOutFigures {
  agents: number;
  ours: Figures;
  floor: Figures;
  /** CPU of one fan-out of ours, milliseconds. */
  apiCpuMs: number;
  postgresCpuMs: number;
  /** Commands of all fan-outs of ours, warm-up included, by state. */
  recorded: Record<string, number>;
}

export async function benchFanOut(
  installation: Installation,
  report: (what: string) => void,
  scale: { agents: number; rounds: number; warmUp: number },
): Promise<FanOutFigures> {
  const { databaseUrl } = installation;
  const client = new pg.Client({ connectionString: databaseUrl });
  await client.connect();
  try {
    const fleet = await startFleet(installation, client, { name: 'fan-out', size: scale.agents });
    report(`fan-out: connecting ${scale.agents} agents to each`);
    await fleet.connect();
    const match = await installation.startPeer(
      'fan-out-floor',
      { DATABASE_URL: databaseUrl },
      /fan_out_floor_ready (\S+)/,
    );
    const address = match?.[1] ?? '';
    await installation.startPeer(
      'fan-out-peers',
      { FLOOR_URL: `ws://${address}`, FLOOR_AGENTS: String(scale.agents) },
      /fan_out_peers_ready/,
    );
    const batchIds: string[] = [];
    const ours = async (): Promise<void> => {
      const batch = await installation.call<BatchView>('POST', '/v1/commands', {
        agentIds: fleet.agentIds,
        act: { argv: ['true'] },
        waitMs: 25_000,
      });
      if (batch.pending !== 0 || batch.size !== scale.agents)
        throw new Error(`${batch.pending} of ${batch.size} results are not recorded`);
      batchIds.push(batch.batchId);
    };
    const floor = async (): Promise<void> => {
      const reply = await fetch(`http://${address}/`, { method: 'POST' });
      const { count } = (await reply.json()) as { count: number };
      if (count !== scale.agents) throw new Error(`the floor ran on ${count} agents`);
    };
    report('fan-out: warming up');
    for (let i = 0; i < scale.warmUp; i++) {
      await ours();
      await floor();
    }
    // What autovacuum does a minute after the first rows came: until then plans are those of empty tables.
    await client.query('vacuum (analyze)');
    report(`fan-out: ${scale.rounds} rounds of each`);
    const measure = await createMeter(client, installation.pidOf('api'));
    const samples = { ours: [] as number[], floor: [] as number[] };
    const cpu = { api: 0, postgres: 0 };
    for (let i = 0; i < scale.rounds; i++) {
      samples.floor.push(await timeMs(floor));
      const before = await measure();
      samples.ours.push(await timeMs(ours));
      const after = await measure();
      cpu.api += after.apiCpuMs - before.apiCpuMs;
      cpu.postgres += after.postgresCpuMs - before.postgresCpuMs;
    }
    const { rows } = await client.query<{ state: string; count: string }>(
      'select state, count(*) from commands where batch_id = any($1::uuid[]) group by state',
      [batchIds],
    );
    await fleet.disconnect();
    return {
      agents: scale.agents,
      ours: figuresOf(samples.ours),
      floor: figuresOf(samples.floor),
      apiCpuMs: cpu.api / scale.rounds,
      postgresCpuMs: cpu.postgres / scale.rounds,
      recorded: Object.fromEntries(rows.map(({ state, count }) => [state, Number(count)])),
    };
  } finally {
    await client.end();
  }
}
