/** (e) Conditional requests: the list of 10,000 jobs for a client that has it already (304) against one that has not (200). */
import pg from 'pg';
import type { Installation } from './installation.ts';
import { figuresOf, throughput } from './statistics.ts';

const JOBS = 10_000;
const IN_FLIGHT = 8;
/** Requests of each kind before the first that counts. */
const WARM_UP_COUNT = 5;

export interface EtagFigures {
  jobs: number;
  /** Body of a 200, bytes. */
  bodyBytes: number;
  /** Requests per second, the median of the rounds. */
  fullPerSecond: number;
  notModifiedPerSecond: number;
}

export interface EtagScale {
  rounds: number;
  full: number;
  notModified: number;
}

export async function benchEtags(
  installation: Installation,
  report: (what: string) => void,
  scale: EtagScale,
): Promise<EtagFigures> {
  report(`etag: writing ${JOBS} jobs`);
  await insertJobs(installation);
  const ask = async (status: number, etag?: string) => {
    const reply = await fetch(`${installation.url}/api/v1/jobs`, {
      headers: {
        authorization: `Bearer ${installation.token}`,
        ...(etag !== undefined && { 'if-none-match': etag }),
      },
    });
    const body = await reply.arrayBuffer();
    if (reply.status !== status) throw new Error(`the list of jobs answered ${reply.status}, not ${status}`);
    return { etag: reply.headers.get('etag') ?? '', bodyBytes: body.byteLength };
  };
  const { etag, bodyBytes } = await ask(200);
  const rates = { full: [] as number[], notModified: [] as number[] };
  const full = () => ask(200);
  const notModified = () => ask(304, etag);
  for (const run of [full, notModified]) await throughput(WARM_UP_COUNT, 1, run);
  for (let round = 0; round < scale.rounds; round++) {
    report(`etag: round ${round + 1} of ${scale.rounds}, ${IN_FLIGHT} in flight`);
    rates.full.push(await throughput(scale.full, IN_FLIGHT, full));
    rates.notModified.push(await throughput(scale.notModified, IN_FLIGHT, notModified));
  }
  return {
    jobs: JOBS,
    bodyBytes,
    fullPerSecond: figuresOf(rates.full).p50,
    notModifiedPerSecond: figuresOf(rates.notModified).p50,
  };
}

/** Ended jobs, straight into the table: no workflow shall run beside what is measured. */
async function insertJobs({ databaseUrl }: Installation): Promise<void> {
  const client = new pg.Client({ connectionString: databaseUrl });
  await client.connect();
  try {
    await client.query(
      `insert into tasks (id, public_id, kind, title, goal, mode, state, creator_kind, creator_id, creator_name, target,
                          max_steps, deadline_at, approval_timeout_ms, command_timeout_ms, expiry_ms, ended_at, rev,
                          created_at)
       select id, cast(id as text), 'job', 'Process payroll ' || n, 'Monthly payroll', 'manual', 'completed', 'user',
              'bench', 'bench', '{"any": true}', 25, now(), 1, 1, 1, now(), 1, now() - n * interval '1 second'
       from (select gen_random_uuid() as id, n from generate_series(1, $1) as n) as made`,
      [JOBS],
    );
    await client.query('analyze tasks');
  } finally {
    await client.end();
  }
}
