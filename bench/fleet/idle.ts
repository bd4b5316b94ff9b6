/** Ten thousand agents that only say that they are there, and what half of them cost when they all return at once. */
import pg from 'pg';
import type { Installation } from '../installation.ts';
import { type FleetCounts, startFleet } from './agents.ts';
import { createMeter, minus, type Rates, ratesBetween } from './meters.ts';

export interface FleetScale {
  /** Agents of each of the two fleets. */
  half: number;
  /** Length of a measurement, milliseconds. */
  windowMs: number;
}

export interface FleetFigures {
  agents: number;
  connectMs: number;
  kilobytesPerConnection: number;
  heartbeatsPerSecond: number;
  /** Milliseconds of CPU per 1,000 heartbeats, with all that goes with being connected (pings, scans, flushes). */
  apiCpuMsPerThousand: number;
  postgresCpuMsPerThousand: number;
  /** Beyond those of the idle installation, a second. */
  idle: Rates;
  fleet: Rates;
  lostWhileIdle: number;
  storm: {
    agents: number;
    ms: number;
    medianMs: number;
    /** Attempts that ended before their welcome, of those who returned. */
    failedAttempts: number;
    /** Connections lost in it, of those who returned and of those who had stayed. */
    lost: number;
    lostOfOthers: number;
  };
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
/** A flush of the last heartbeats, and the statistics of the database, may be that old. */
const SETTLE_MS = 5_000;

export async function benchFleet(
  installation: Installation,
  report: (what: string) => void,
  { half, windowMs }: FleetScale,
): Promise<FleetFigures> {
  const client = new pg.Client({ connectionString: installation.databaseUrl });
  await client.connect();
  try {
    const staying = await startFleet(installation, client, { name: 'staying', size: half });
    const returning = await startFleet(installation, client, { name: 'returning', size: half });
    await client.query('analyze agents, agent_tokens');
    const measure = await createMeter(client, installation.pidOf('api'));
    const window = async (): Promise<Rates> => {
      await pause(SETTLE_MS);
      const before = await measure();
      await pause(windowMs);
      return ratesBetween(before, await measure());
    };

    report('fleet: the installation without it');
    const idle = await window();
    const bytesBefore = (await measure()).apiBytes;

    report(`fleet: connecting ${2 * half} agents`);
    const begun = performance.now();
    await Promise.all([staying.connect(), returning.connect()]);
    const connectMs = performance.now() - begun;

    report('fleet: heartbeats');
    await pause(SETTLE_MS);
    await Promise.all([staying.reset(), returning.reset()]);
    const before = await measure();
    await pause(windowMs);
    const after = await measure();
    const [one, two] = await Promise.all([staying.stats(), returning.stats()]);
    const seconds = (after.at - before.at) / 1_000;
    const fleet = minus(ratesBetween(before, after), idle);
    const heartbeatsPerSecond = sum(one, two, 'heartbeats') / seconds;

    report(`fleet: ${half} agents return at once`);
    await staying.reset();
    const storm = await returning.storm();
    await pause(SETTLE_MS);
    const [stayed, returned] = await Promise.all([staying.stats(), returning.stats()]);
    await Promise.all([staying.disconnect(), returning.disconnect()]);

    return {
      agents: 2 * half,
      connectMs,
      kilobytesPerConnection: (after.apiBytes - bytesBefore) / 1_024 / (2 * half),
      heartbeatsPerSecond,
      apiCpuMsPerThousand: (fleet.apiCpuMs * 1_000) / heartbeatsPerSecond,
      postgresCpuMsPerThousand: (fleet.postgresCpuMs * 1_000) / heartbeatsPerSecond,
      idle,
      fleet,
      lostWhileIdle: sum(one, two, 'lost'),
      storm: {
        agents: half,
        ms: storm.ms,
        medianMs: storm.medianMs,
        failedAttempts: storm.failedAttempts,
        lost: returned.lost + (half - returned.connected),
        lostOfOthers: stayed.lost + (half - stayed.connected),
      },
    };
  } finally {
    await client.end();
  }
}

const sum = (one: FleetCounts, two: FleetCounts, name: keyof FleetCounts): number => one[name] + two[name];
