/** What programs and the database used between two moments. Linux only: /proc. */
import { readdir, readFile } from 'node:fs/promises';
import type pg from 'pg';

/** Clock ticks a second in /proc/<pid>/stat (getconf CLK_TCK). */
const TICKS_PER_SECOND = 100;

export interface Usage {
  at: number;
  /** CPU time since their start, milliseconds. */
  apiCpuMs: number;
  postgresCpuMs: number;
  /** Resident memory of the API, bytes. */
  apiBytes: number;
  /** Transactions that were given an id, which is what a transaction that writes (or locks) a row gets. */
  transactionIds: number;
  commits: number;
  /** Rows inserted, updated or deleted. */
  rowsWritten: number;
}

export type Meter = () => Promise<Usage>;

/** Reads all at once; statistics of PostgreSQL may be a second old. */
export async function createMeter(client: pg.Client, apiPid: number): Promise<Meter> {
  const { rows } = await client.query<{ pid: number }>('select pg_backend_pid() as pid');
  const postmaster = await parentOf(rows[0]?.pid ?? 0);
  return async () => {
    // What this session wrote before is counted now, and not in the middle of a measurement.
    await client.query('select pg_stat_force_next_flush()');
    const facts = await client.query<{ xid: string; commits: string; written: string }>(
      `select pg_snapshot_xmax(pg_current_snapshot())::text as xid, xact_commit as commits,
              tup_inserted + tup_updated + tup_deleted as written
       from pg_stat_database where datname = current_database()`,
    );
    const [row] = facts.rows;
    return {
      at: performance.now(),
      apiCpuMs: await cpuMs(apiPid),
      postgresCpuMs: await cpuOfChildrenMs(postmaster),
      apiBytes: await residentBytes(apiPid),
      transactionIds: Number(row?.xid),
      commits: Number(row?.commits),
      rowsWritten: Number(row?.written),
    };
  };
}

export type Rates = Record<
  'apiCpuMs' | 'postgresCpuMs' | 'transactionIds' | 'commits' | 'rowsWritten',
  number
>;

/** Each per second. */
export function ratesBetween(before: Usage, after: Usage): Rates {
  const seconds = (after.at - before.at) / 1_000;
  const rate = (name: keyof Rates): number => (after[name] - before[name]) / seconds;
  return {
    apiCpuMs: rate('apiCpuMs'),
    postgresCpuMs: rate('postgresCpuMs'),
    transactionIds: rate('transactionIds'),
    commits: rate('commits'),
    rowsWritten: rate('rowsWritten'),
  };
}

export const minus = (rates: Rates, idle: Rates): Rates => ({
  apiCpuMs: rates.apiCpuMs - idle.apiCpuMs,
  postgresCpuMs: rates.postgresCpuMs - idle.postgresCpuMs,
  transactionIds: rates.transactionIds - idle.transactionIds,
  commits: rates.commits - idle.commits,
  rowsWritten: rates.rowsWritten - idle.rowsWritten,
});

/** Fields of /proc/<pid>/stat after the name, which may hold anything: state, parent, … (proc(5)). */
async function statOf(pid: number): Promise<string[]> {
  const text = await readFile(`/proc/${pid}/stat`, 'utf8');
  return text.slice(text.lastIndexOf(')') + 2).split(' ');
}

const parentOf = async (pid: number): Promise<number> => Number((await statOf(pid))[1]);

/** Its own time, and that of its children that ended. */
async function cpuMs(pid: number): Promise<number> {
  const fields = await statOf(pid);
  const ticks = [11, 12, 13, 14].reduce((sum, at) => sum + Number(fields[at]), 0);
  return (ticks * 1_000) / TICKS_PER_SECOND;
}

async function cpuOfChildrenMs(parent: number): Promise<number> {
  let sum = await cpuMs(parent);
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    const pid = Number(name);
    try {
      if ((await parentOf(pid)) === parent) sum += await cpuMs(pid);
    } catch {
      // It ended meanwhile: its time is in the parent's.
    }
  }
  return sum;
}

async function residentBytes(pid: number): Promise<number> {
  const text = await readFile(`/proc/${pid}/status`, 'utf8');
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(text)?.[1]) * 1_024;
}
