/** (h) Schedules that are all due in the same second, against plain workflows of one activity started by a client. */
import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { Client, Connection } from '@temporalio/client';
import pg from 'pg';
import { type Installation, RAW_TASK_QUEUE } from './installation.ts';
import { figuresOf, throughput } from './statistics.ts';

export interface ScheduleFigures {
  schedules: number;
  /** Created by HTTP until Temporal has heard of all, per second. */
  toldPerSecond: number;
  /** From the due second to the last begun run. */
  drainPerSecond: number;
  /** Client starts of a workflow with one activity, to their end. */
  rawPerSecond: number;
  /** When the first and half of them had begun, milliseconds after the due second. */
  firstMs: number;
  halfMs: number;
  /** Runs of each schedule for that due time; anything but 1 is a fault. */
  runsPerSchedule: { min: number; max: number };
}

const IN_FLIGHT = 32;
const CREATE_LANES = 8;
/** From the first creation to the due second, milliseconds for each schedule and besides. */
const LEAD_MS_EACH = 90;
const LEAD_MS = 20_000;
const POLL_MS = 250;
const PATIENCE_MS = 300_000;
const HOUR_MS = 3_600_000;

export async function benchSchedules(
  installation: Installation,
  report: (what: string) => void,
  { count, rawCount }: { count: number; rawCount: number },
): Promise<ScheduleFigures> {
  const connection = await Connection.connect({ address: installation.temporalAddress });
  const client = new Client({ connection });
  const db = new pg.Client({ connectionString: installation.databaseUrl });
  await db.connect();
  const raw = (): Promise<number> =>
    throughput(rawCount, IN_FLIGHT, () =>
      client.workflow.execute('oneActivity', { taskQueue: RAW_TASK_QUEUE, workflowId: randomUUID() }),
    );
  const numberOf = async (sql: string, values: unknown[] = []): Promise<number> =>
    Number((await db.query<{ n: string }>(sql, values)).rows[0]?.n);
  const until = async (what: string, sql: string, values: unknown[]): Promise<void> => {
    const deadline = Date.now() + PATIENCE_MS;
    while ((await numberOf(sql, values)) < count) {
      if (Date.now() > deadline) throw new Error(`did not happen: ${what}`);
      await delay(POLL_MS);
    }
  };

  try {
    report('schedules: plain workflows');
    await raw(); // warm
    const rawRates = [await raw()];

    report(`schedules: telling Temporal of ${count}`);
    // It is enrolled and never connects: a run is a row and a command that waits.
    const { enrolmentToken } = await installation.call<{ enrolmentToken: string }>(
      'POST',
      '/v1/agents/enrolments',
      {},
    );
    const agentId = `idle-${randomUUID()}`;
    await installation.call('POST', '/v1/agents/enrol', { enrolmentToken, hostname: agentId, agentId });
    const name = `bench-${randomUUID()}`;
    const startedAt = Date.now();
    const dueAt = Math.ceil((startedAt + LEAD_MS + LEAD_MS_EACH * count) / 1_000) * 1_000;
    await throughput(count, CREATE_LANES, () =>
      installation.call('POST', '/v1/schedules', {
        name,
        timing: { kind: 'interval', everyMs: HOUR_MS, offsetMs: dueAt % HOUR_MS },
        action: { kind: 'command', act: { command: 'true' } },
        target: { agentIds: [agentId] },
      }),
    );
    await until(
      'Temporal has heard of all',
      'select count(*) as n from schedules where name = $1 and synced_revision = revision',
      [name],
    );
    const toldPerSecond = (count * 1_000) / (Date.now() - startedAt);
    if (Date.now() >= dueAt) throw new Error('the due second came before Temporal had heard of all');

    report(`schedules: ${Math.ceil((dueAt - Date.now()) / 1_000)} s until all are due`);
    await delay(dueAt - Date.now());
    const runsOf = `schedule_runs r join schedules s on s.id = r.schedule_id where s.name = $1`;
    await until('all have begun', `select count(distinct s.id) as n from ${runsOf} and r.due_at = $2`, [
      name,
      new Date(dueAt),
    ]);
    const begunMs = async (share: number): Promise<number> =>
      Math.round(
        await numberOf(
          `select percentile_disc(${share}) within group (order by extract(epoch from r.started_at) * 1000) - $2 as n
           from ${runsOf}`,
          [name, dueAt],
        ),
      );
    const drainMs = await begunMs(1);
    const { rows } = await db.query<{ min: string; max: string }>(
      `select min(n), max(n) from (select count(r.id) as n from schedules s
         left join schedule_runs r on r.schedule_id = s.id where s.name = $1 group by s.id) as each_one`,
      [name],
    );
    report('schedules: plain workflows again');
    rawRates.push(await raw());
    return {
      schedules: count,
      toldPerSecond,
      drainPerSecond: (count * 1_000) / drainMs,
      rawPerSecond: figuresOf(rawRates).p50,
      firstMs: await begunMs(0),
      halfMs: await begunMs(0.5),
      runsPerSchedule: { min: Number(rows[0]?.min), max: Number(rows[0]?.max) },
    };
  } finally {
    await db.end();
    await connection.close();
  }
}
