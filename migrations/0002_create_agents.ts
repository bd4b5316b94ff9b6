import type { Migration } from './migration.ts';

/** Agents, their credentials, and the one live connection each may have. */
export const createAgents: Migration = {
  name: '0002_create_agents',
  up: `
    create table agents (
      id text primary key,
      hostname text not null,
      os text,
      arch text,
      version text,
      delivery text not null default 'websocket' check (delivery in ('websocket', 'temporal')),
      tags text[] not null default '{}',
      capabilities text[] not null default '{}',
      shells text[] not null default '{}',
      default_shell text,
      metrics jsonb,
      running_count integer not null default 0,
      draining boolean not null default false,
      last_seen_at timestamptz(3),
      created_at timestamptz(3) not null default now(),
      updated_at timestamptz(3) not null default now(),
      revoked_at timestamptz(3)
    );
    create index agents_tags_idx on agents using gin (tags);
    create index agents_created_idx on agents (created_at desc, id desc);

    create table agent_tokens (
      id uuid primary key,
      agent_id text not null references agents (id) on delete cascade,
      token_hash bytea not null unique,
      created_at timestamptz(3) not null default now(),
      last_used_at timestamptz(3),
      revoked_at timestamptz(3)
    );
    create index agent_tokens_agent_idx on agent_tokens (agent_id);

    create table enrolment_tokens (
      id uuid primary key,
      token_hash bytea not null unique,
      label text,
      tags text[] not null default '{}',
      max_uses integer not null default 1 check (max_uses > 0),
      used_count integer not null default 0 check (used_count <= max_uses),
      created_by text not null,
      created_at timestamptz(3) not null default now(),
      expires_at timestamptz(3) not null,
      revoked_at timestamptz(3)
    );

    -- One row an agent, kept for ever: the epoch only rises. bridge_id is null while the agent is away.
    create table agent_connections (
      agent_id text primary key references agents (id) on delete cascade,
      epoch bigint not null default 0,
      journal_id uuid,
      journal_seq bigint not null default 0,
      bridge_id uuid,
      connected_at timestamptz(3),
      disconnected_at timestamptz(3)
    );
    create index agent_connections_bridge_idx on agent_connections (bridge_id) where bridge_id is not null;
  `,
  down: `
    drop table agent_connections;
    drop table enrolment_tokens;
    drop table agent_tokens;
    drop table agents;
  `,
};
