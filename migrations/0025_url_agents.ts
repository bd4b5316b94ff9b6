import type { Migration } from './migration.ts';

/** Agents that are reached at an address of their own, what they answered, and tasks that were handed to them. */
export const urlAgents: Migration = {
  name: '0025_url_agents',
  up: `
    alter table agents drop constraint agents_delivery_check;
    alter table agents add constraint agents_delivery_check check (delivery in ('websocket', 'temporal', 'url'));

    create table url_agents (
      agent_id text primary key references agents (id) on delete cascade,
      -- As it is asked: without a slash at its end.
      url text not null unique,
      role text not null default 'worker',
      -- What it wants to be asked with; sealed (domain/secret-box.ts).
      sealed_token text,
      -- Its circuit: failures in a row, and until when it is left alone.
      failure_streak integer not null default 0,
      open_until timestamptz(3),
      last_failure text
    );
    create index url_agents_failing_idx on url_agents (agent_id) where failure_streak > 0;

    -- What such an agent said instead of a command that can be decided on. The number of the step is used up.
    create table url_proposals (
      task_id uuid not null references tasks (id) on delete cascade,
      run_no integer not null,
      step_no integer not null,
      answer jsonb not null,
      created_at timestamptz(3) not null default now(),
      primary key (task_id, run_no, step_no)
    );

    -- Tasks that another installation has been given, each part of a task of this one.
    create table delegations (
      task_id uuid primary key references tasks (id) on delete cascade,
      parent_id uuid not null references tasks (id) on delete cascade,
      agent_id text not null references agents (id),
      callback_url text not null,
      callback_token_hash bytea not null unique,
      -- Until the other side has it.
      sealed_callback_token text,
      state text not null default 'sending' check (state in ('sending', 'accepted', 'failed')),
      response jsonb,
      failure text,
      reported_status text,
      last_output text,
      last_exit_code bigint,
      reported_at timestamptz(3),
      created_at timestamptz(3) not null default now()
    );
    create index delegations_parent_idx on delegations (parent_id, reported_at desc);
    create index delegations_agent_idx on delegations (agent_id);
  `,
  down: `
    drop table delegations;
    drop table url_proposals;
    drop table url_agents;
    delete from outbox where kind = 'start_delegation';
    update agents set delivery = 'websocket' where delivery = 'url';
    alter table agents drop constraint agents_delivery_check;
    alter table agents add constraint agents_delivery_check check (delivery in ('websocket', 'temporal'));
  `,
};
