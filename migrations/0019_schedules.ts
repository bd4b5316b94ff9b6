import type { Migration } from './migration.ts';

/**
 * Schedules and their runs. The row is the truth: `revision` says what is wanted, `synced_revision` what Temporal has
 * heard of. Due times up to `accounted_until` have a run, or a row that says why there is none.
 */
export const schedules: Migration = {
  name: '0019_schedules',
  up: `
    create table schedules (
      id uuid primary key,
      name text not null,
      note text,
      timing jsonb not null,
      action jsonb not null,
      target jsonb not null,
      overlap text not null,
      catch_up_window_ms bigint not null,
      jitter_ms bigint not null,
      start_at timestamptz(3),
      end_at timestamptz(3),
      max_runs integer,
      runs_started integer not null default 0,
      paused_at timestamptz(3),
      pause_note text,
      revision integer not null default 1,
      creator_kind text not null,
      creator_id text not null,
      creator_name text not null,
      editor_kind text not null,
      editor_id text not null,
      editor_name text not null,
      synced_revision integer not null default 0,
      synced_at timestamptz(3),
      sync_error text,
      sync_attempts integer not null default 0,
      -- To the microsecond, like now(): rounded up, what is due at once would not be due yet.
      next_sync_at timestamptz not null default now(),
      server_fingerprint text,
      server_agrees boolean,
      looked_at timestamptz(3),
      accounted_until timestamptz(3) not null default now(),
      account_at timestamptz,
      created_at timestamptz(3) not null default now(),
      updated_at timestamptz(3) not null default now(),
      deleted_at timestamptz(3)
    );
    create index schedules_list_idx on schedules (created_at desc, id desc) where deleted_at is null;
    create index schedules_creator_idx on schedules (creator_id, created_at desc, id desc) where deleted_at is null;
    create index schedules_dirty_idx on schedules (next_sync_at) where synced_revision < revision;
    create index schedules_account_idx on schedules (account_at) where deleted_at is null;
    create index schedules_looked_idx on schedules (looked_at) where deleted_at is null and synced_revision = revision;
    create index schedules_deleted_idx on schedules (deleted_at) where deleted_at is not null;

    create table schedule_runs (
      id uuid primary key,
      schedule_id uuid not null references schedules (id) on delete cascade,
      trigger text not null,
      due_at timestamptz(3) not null,
      last_due_at timestamptz(3) not null,
      due_count integer not null default 1,
      state text not null,
      reason text,
      message text,
      revision integer not null,
      is_beside_others boolean not null default false,
      task_ids text[] not null default '{}',
      batch_ids uuid[] not null default '{}',
      refused jsonb not null default '[]',
      created_at timestamptz(3) not null default now(),
      started_at timestamptz(3),
      ended_at timestamptz(3)
    );
    create unique index schedule_runs_due_idx on schedule_runs (schedule_id, due_at) where trigger = 'due';
    create index schedule_runs_list_idx on schedule_runs (schedule_id, due_at desc, id desc);
    create index schedule_runs_state_idx on schedule_runs (schedule_id, state, due_at desc, id desc);
    create index schedule_runs_open_idx on schedule_runs (state, created_at)
      where state in ('waiting', 'running');
    create index schedule_runs_ended_idx on schedule_runs (ended_at) where ended_at is not null;
  `,
  down: `
    drop table schedule_runs;
    drop table schedules;
  `,
};
