import type { Migration } from './migration.ts';

/**
 * What changes with every heartbeat leaves the table of agents: presence is a narrow row, written once a second for
 * the whole fleet, and metrics are rings that never grow. Nothing that is written often is in an index.
 */
export const agentPresence: Migration = {
  name: '0014_agent_presence',
  up: `
    create table agent_presence (
      agent_id text primary key references agents (id) on delete cascade,
      -- What was announced last; the status that clients see is computed from the times.
      is_online boolean not null default false,
      last_seen_at timestamptz(3),
      -- Last word over HTTP, from agents without a socket.
      heartbeat_at timestamptz(3),
      running_count integer not null default 0,
      draining boolean not null default false
    ) with (fillfactor = 50);

    create table agent_facts (
      agent_id text primary key references agents (id) on delete cascade,
      metrics jsonb,
      metrics_at timestamptz(3),
      -- What agents of other dialects say of their machine, as they say it.
      system_info jsonb
    ) with (fillfactor = 70);

    -- Rings: slot = bucket modulo the length of the ring, so a new sample takes the place of the oldest.
    create table agent_metrics_fine (
      agent_id text not null references agents (id) on delete cascade,
      slot smallint not null,
      bucket bigint not null,
      cpu_percent real,
      memory_percent real,
      disk_percent real,
      primary key (agent_id, slot)
    ) with (fillfactor = 70);

    create table agent_metrics_coarse (
      agent_id text not null references agents (id) on delete cascade,
      slot smallint not null,
      bucket bigint not null,
      samples integer not null,
      cpu_percent real,
      cpu_percent_max real,
      memory_percent real,
      memory_percent_max real,
      disk_percent real,
      disk_percent_max real,
      primary key (agent_id, slot)
    ) with (fillfactor = 70);

    insert into agent_presence (agent_id, is_online, last_seen_at, running_count, draining)
      select a.id, c.bridge_id is not null, a.last_seen_at, a.running_count, a.draining
      from agents a left join agent_connections c on c.agent_id = a.id;
    insert into agent_facts (agent_id, metrics, metrics_at)
      select id, metrics, last_seen_at from agents where metrics is not null;

    alter table agents
      drop column metrics, drop column running_count, drop column draining, drop column last_seen_at,
      add column address text,
      -- An operator wants it to take nothing new.
      add column drain_requested_at timestamptz(3);
    create index agents_hostname_idx on agents (lower(hostname));

    alter table agent_connections
      -- The credential that the connection was opened with; null where that is none of the agent's own.
      add column token_id uuid,
      add column clone_suspected_at timestamptz(3);

    -- A token that is being replaced works a little longer.
    alter table agent_tokens add column expires_at timestamptz(3);

    create table agent_groups (
      id uuid primary key,
      name text not null unique,
      description text,
      expression text not null,
      created_by text not null,
      created_at timestamptz(3) not null default now(),
      updated_at timestamptz(3) not null default now()
    );
    create index agent_groups_created_idx on agent_groups (created_at desc, id desc);
  `,
  down: `
    drop table agent_groups;
    alter table agent_tokens drop column expires_at;
    alter table agent_connections drop column token_id, drop column clone_suspected_at;
    drop index agents_hostname_idx;
    alter table agents
      drop column address, drop column drain_requested_at,
      add column metrics jsonb,
      add column running_count integer not null default 0,
      add column draining boolean not null default false,
      add column last_seen_at timestamptz(3);
    update agents a set running_count = p.running_count, draining = p.draining, last_seen_at = p.last_seen_at
      from agent_presence p where p.agent_id = a.id;
    update agents a set metrics = f.metrics from agent_facts f where f.agent_id = a.id;
    drop table agent_metrics_coarse;
    drop table agent_metrics_fine;
    drop table agent_facts;
    drop table agent_presence;
  `,
};
