/**
 * What agents say of themselves between hello and goodbye, written set-based: one statement for the whole fleet.
 *
 *  A. Only a report of the epoch that the connection still has is taken.
 *  B. Rows are locked in the order of agent ids, as by everybody who locks several.
 */

import { METRICS_STEPS } from '../contracts/agent-metrics.ts';
import type { AgentMetrics } from '../contracts/agent-protocol.ts';
import { URL_AGENT_OFFLINE_AFTER_MS } from '../contracts/agents.ts';
import { type Queryable, query } from './database.ts';

export interface PresenceRow {
  agentId: string;
  /** Epoch of its socket; null for a heartbeat over HTTP. */
  epoch: number | null;
  journalSeq: number;
  running: number;
  draining: boolean;
  metrics: AgentMetrics | null;
  systemInfo: Record<string, unknown> | null;
  /** What the history of metrics keeps, percent; null: not told. */
  cpuPercent: number | null;
  memoryPercent: number | null;
  diskPercent: number | null;
}

/** Mean and maximum of a bucket of the coarse ring after one more sample. */
const coarseSql = ['cpu_percent', 'memory_percent', 'disk_percent']
  .map(
    (name) => `${name} = case when m.bucket = excluded.bucket
           then coalesce((m.${name} * m.samples + excluded.${name}) / (m.samples + 1), m.${name}, excluded.${name})
           else excluded.${name} end,
         ${name}_max = case when m.bucket = excluded.bucket
           then greatest(m.${name}_max, excluded.${name}_max) else excluded.${name}_max end`,
  )
  .join(',\n         ');

const bucketSql = (stepSeconds: number): string =>
  `cast(floor(extract(epoch from now()) / ${stepSeconds}) as bigint)`;
const fineBucket = bucketSql(METRICS_STEPS.fine.seconds);
const coarseBucket = bucketSql(METRICS_STEPS.coarse.seconds);

/** Returns the agents that had not been online. */
export async function writePresence(
  db: Queryable,
  bridgeId: string,
  reports: readonly PresenceRow[],
): Promise<string[]> {
  if (reports.length === 0) return [];
  const rows = await query<{ agent_id: string }>(
    db,
    `with said as (
       select * from jsonb_to_recordset(cast(:rows as jsonb)) as r(
         agent_id text, epoch bigint, journal_seq bigint, running integer, draining boolean,
         metrics jsonb, system_info jsonb, cpu_percent real, memory_percent real, disk_percent real)
     ), held as materialized (
       select said.*, coalesce(p.is_online, false) as was_online
       from said join agents a on a.id = said.agent_id
         left join agent_connections c on c.agent_id = said.agent_id
         left join agent_presence p on p.agent_id = said.agent_id
       where a.revoked_at is null and (said.epoch is null or c.epoch = said.epoch)
       order by said.agent_id
     ), changed as (
       select c.agent_id from agent_connections c join said on said.agent_id = c.agent_id and said.epoch = c.epoch
       where c.journal_seq < said.journal_seq or c.bridge_id is distinct from cast(:bridge_id as uuid)
         or c.disconnected_at is not null
       order by c.agent_id for no key update of c
     ), kept as (
       update agent_connections c set journal_seq = greatest(c.journal_seq, said.journal_seq),
              bridge_id = cast(:bridge_id as uuid), disconnected_at = null
       from said join changed using (agent_id)
       where c.agent_id = said.agent_id and c.epoch = said.epoch
     ), present as (
       insert into agent_presence as p (agent_id, is_online, last_seen_at, heartbeat_at, running_count, draining)
       select agent_id, true, now(), case when epoch is null then now() end, running, draining
       from held order by agent_id
       on conflict (agent_id) do update set is_online = true, last_seen_at = now(),
         heartbeat_at = coalesce(excluded.heartbeat_at, p.heartbeat_at),
         running_count = case when excluded.heartbeat_at is null then excluded.running_count else p.running_count end,
         draining = case when excluded.heartbeat_at is null then excluded.draining else p.draining end
     ), told as (
       insert into agent_facts as f (agent_id, metrics, metrics_at, system_info)
       select agent_id, nullif(metrics, 'null'), now(), nullif(system_info, 'null')
       from held where nullif(metrics, 'null') is not null or nullif(system_info, 'null') is not null
       order by agent_id
       on conflict (agent_id) do update set metrics = coalesce(excluded.metrics, f.metrics),
         metrics_at = excluded.metrics_at, system_info = coalesce(excluded.system_info, f.system_info)
     ), fine as (
       insert into agent_metrics_fine as m (agent_id, slot, bucket, cpu_percent, memory_percent, disk_percent)
       select agent_id, ${fineBucket} % ${METRICS_STEPS.fine.slots}, ${fineBucket},
              cpu_percent, memory_percent, disk_percent
       from held where coalesce(cpu_percent, memory_percent, disk_percent) is not null order by agent_id
       on conflict (agent_id, slot) do update set bucket = excluded.bucket, cpu_percent = excluded.cpu_percent,
         memory_percent = excluded.memory_percent, disk_percent = excluded.disk_percent
     ), coarse as (
       insert into agent_metrics_coarse as m (agent_id, slot, bucket, samples, cpu_percent, cpu_percent_max,
                                              memory_percent, memory_percent_max, disk_percent, disk_percent_max)
       select agent_id, ${coarseBucket} % ${METRICS_STEPS.coarse.slots}, ${coarseBucket}, 1,
              cpu_percent, cpu_percent, memory_percent, memory_percent, disk_percent, disk_percent
       from held where coalesce(cpu_percent, memory_percent, disk_percent) is not null order by agent_id
       on conflict (agent_id, slot) do update set bucket = excluded.bucket,
         samples = case when m.bucket = excluded.bucket then m.samples + 1 else 1 end,
         ${coarseSql}
     )
     select agent_id from held where not was_online`,
    { bridge_id: bridgeId, rows: JSON.stringify(reports.map(recordOf)) },
  );
  return rows.map((row) => row.agent_id);
}

const recordOf = (report: PresenceRow) => ({
  agent_id: report.agentId,
  epoch: report.epoch,
  journal_seq: report.journalSeq,
  running: report.running,
  draining: report.draining,
  metrics: report.metrics,
  system_info: report.systemInfo,
  cpu_percent: report.cpuPercent,
  memory_percent: report.memoryPercent,
  disk_percent: report.diskPercent,
});

/**
 * Agents not heard of for `silentMs` are offline from now on. Returns them. It looks at every row: an index would make
 * each heartbeat dearer.
 */
export async function markSilentOffline(db: Queryable, silentMs: number): Promise<string[]> {
  const rows = await query<{ agent_id: string }>(
    db,
    `with silent as (
       select p.agent_id from agent_presence p join agents a on a.id = p.agent_id
       where p.is_online and coalesce(p.last_seen_at < now() - make_interval(secs => :seconds), true)
         and (a.delivery <> 'url'
              or coalesce(p.last_seen_at < now() - make_interval(secs => :url_seconds), true))
       order by p.agent_id for no key update of p
     )
     update agent_presence p set is_online = false, running_count = 0
     from silent where p.agent_id = silent.agent_id
     returning p.agent_id`,
    { seconds: silentMs / 1000, url_seconds: Math.max(silentMs, URL_AGENT_OFFLINE_AFTER_MS) / 1000 },
  );
  return rows.map((row) => row.agent_id);
}
