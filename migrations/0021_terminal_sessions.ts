import type { Migration } from './migration.ts';

/** Terminals: who may open them, which there were, what they showed, and what was done in them. */
export const terminalSessions: Migration = {
  name: '0021_terminal_sessions',
  up: `
    -- The explicit right besides the role.
    alter table users add column may_open_terminals boolean not null default false;

    create table terminal_sessions (
      id uuid primary key,
      agent_id text not null,
      state text not null default 'opening' check (state in ('opening', 'open', 'ended')),
      -- Principal that opened it; nobody else can attach.
      owner_kind text not null,
      owner_id text not null,
      owner_name text not null,
      address text,
      forward_param text,
      shell text,
      cols integer not null,
      rows integer not null,
      records_input boolean not null,
      is_recorded boolean not null,
      created_at timestamptz(3) not null default now(),
      opened_at timestamptz(3),
      -- Ended then in any case.
      ends_before timestamptz(3) not null,
      end_requested_at timestamptz(3),
      end_requested_reason text,
      ended_at timestamptz(3),
      end_reason text,
      exit_code integer,
      signal integer,
      survivors integer,
      output_bytes bigint,
      -- Output up to here is in the recording, or was left out of it for its size.
      recorded_offset bigint not null default 0,
      recording_bytes bigint not null default 0,
      recording_truncated boolean not null default false,
      recording_deleted_at timestamptz(3)
    );
    create index terminal_sessions_list_idx on terminal_sessions (created_at desc, id desc);
    create index terminal_sessions_owner_idx on terminal_sessions (owner_id, created_at desc, id desc);
    create index terminal_sessions_agent_idx on terminal_sessions (agent_id, created_at desc, id desc);
    create index terminal_sessions_open_idx on terminal_sessions (agent_id, created_at) where state <> 'ended';
    create index terminal_sessions_overdue_idx on terminal_sessions (ends_before) where state <> 'ended';
    create index terminal_sessions_ended_idx on terminal_sessions (ended_at) where state = 'ended';

    -- Bytes that passed, and marks: what they are and when. An asciicast is made of them when they are read.
    create table terminal_recordings (
      session_id uuid not null references terminal_sessions (id) on delete cascade,
      position integer not null,
      bytes bytea not null,
      marks jsonb not null,
      primary key (session_id, position)
    );
    alter table terminal_recordings alter column bytes set storage external;

    create table terminal_log (
      id bigint generated always as identity primary key,
      at timestamptz(3) not null default now(),
      session_id uuid not null,
      owner_id text not null,
      event text not null check (event in ('session_open', 'input', 'session_close')),
      entry jsonb not null
    );
    create index terminal_log_owner_idx on terminal_log (owner_id, id desc);
    create index terminal_log_at_idx on terminal_log (at);
  `,
  down: `
    drop table terminal_log;
    drop table terminal_recordings;
    drop table terminal_sessions;
    alter table users drop column may_open_terminals;
  `,
};
