import type { Migration } from './migration.ts';

/** Acts (write-once), tasks and their steps. */
export const createTasks: Migration = {
  name: '0003_create_tasks',
  up: `
    create function refuse_update() returns trigger language plpgsql as $$
    begin
      raise exception '% rows are write-once', tg_table_name using errcode = 'restrict_violation';
    end $$;

    -- The exact thing to run, by its digest. Steps and commands point here; nothing ever changes a row.
    create table acts (
      digest text primary key check (digest ~ '^[0-9a-f]{64}$'),
      act jsonb not null,
      task_run text not null,
      step_no integer not null,
      proposal_id text not null,
      created_at timestamptz(3) not null default now()
    );
    create trigger acts_write_once before update on acts for each row execute function refuse_update();

    create table tasks (
      id uuid primary key,
      public_id text not null unique,
      kind text not null default 'task' check (kind in ('task', 'job', 'collab')),
      title text not null,
      goal text not null,
      mode text not null check (mode in ('manual', 'supervised', 'auto')),
      state text not null check (state in
        ('created', 'assigned', 'proposing', 'awaiting_decision', 'running', 'blocked',
         'completed', 'failed', 'canceled', 'expired')),
      run_no integer not null default 1,
      rev bigint not null default 0,
      creator_kind text not null,
      creator_id text not null,
      creator_name text not null,
      target jsonb not null,
      agent_id text references agents (id) on delete set null,
      step_no integer not null default 0,
      requested_step integer not null default 0,
      waiting_reason text,
      pre_approved text[] not null default '{}',
      max_steps integer not null,
      deadline_at timestamptz(3) not null,
      approval_timeout_ms bigint not null,
      command_timeout_ms bigint not null,
      expiry_ms bigint not null,
      cancel_requested_at timestamptz(3),
      cancel_reason text,
      end_as text,
      ended_at timestamptz(3),
      result jsonb,
      seal_sha256 text,
      namespace_id text,
      progress_at timestamptz(3) not null default now(),
      archived_at timestamptz(3),
      deleted_at timestamptz(3),
      created_at timestamptz(3) not null default now(),
      updated_at timestamptz(3) not null default now()
    );
    create index tasks_list_idx on tasks (created_at desc, id desc) where deleted_at is null;
    create index tasks_state_idx on tasks (state, created_at desc, id desc) where deleted_at is null;
    create index tasks_agent_idx on tasks (agent_id, created_at desc, id desc) where deleted_at is null;
    create index tasks_creator_idx on tasks (creator_id, created_at desc, id desc) where deleted_at is null;
    create index tasks_idle_idx on tasks (progress_at) where ended_at is null;
    create index tasks_open_agent_idx on tasks (agent_id) where ended_at is null;

    create table steps (
      task_id uuid not null references tasks (id) on delete cascade,
      run_no integer not null,
      step_no integer not null,
      proposal_id uuid not null unique,
      origin text not null check (origin in ('model', 'person')),
      author_kind text not null,
      author_id text not null,
      author_name text not null,
      digest text not null references acts (digest),
      agent_ids text[] not null,
      batch_digest text not null,
      reason text not null,
      expected_effect text not null default '',
      risk_label text not null check (risk_label in ('safe', 'caution', 'dangerous')),
      risk_reasons text[] not null default '{}',
      proposed_at timestamptz(3) not null default now(),
      expires_at timestamptz(3) not null,
      decision text check (decision in ('approve', 'edit', 'reject', 'void', 'expire', 'cancel')),
      decided_kind text,
      decided_id text,
      decided_name text,
      decided_at timestamptz(3),
      decision_reason text,
      original_digest text references acts (digest),
      batch_id uuid,
      model text,
      mock boolean not null default false,
      input_tokens integer not null default 0,
      output_tokens integer not null default 0,
      cost_usd numeric(14, 6) not null default 0,
      primary key (task_id, run_no, step_no),
      check ((decision is null) = (decided_at is null))
    );
  `,
  down: `
    drop table steps;
    drop table tasks;
    drop table acts;
    drop function refuse_update();
  `,
};
