import type { Migration } from './migration.ts';

/**
 * The command ledger: batches, commands, output. The trigger holds the edge table of contracts/command-states.ts;
 * a test compares the two.
 */
export const createCommands: Migration = {
  name: '0004_create_commands',
  up: `
    create table batches (
      id uuid primary key,
      task_id uuid references tasks (id) on delete cascade,
      run_no integer,
      step_no integer,
      workflow_id text,
      digest text not null references acts (digest),
      size integer not null check (size > 0),
      pending integer not null check (pending between 0 and size),
      created_at timestamptz(3) not null default now(),
      finished_at timestamptz(3)
    );
    create index batches_task_idx on batches (task_id, run_no, step_no) where task_id is not null;

    create table commands (
      command_id uuid primary key,
      batch_id uuid not null references batches (id) on delete cascade,
      agent_id text not null references agents (id),
      digest text not null references acts (digest),
      task_id uuid references tasks (id) on delete cascade,
      run_no integer,
      step_no integer,
      attempt integer not null default 1,
      state text not null check (state in
        ('queued', 'sent', 'running', 'succeeded', 'failed', 'timed_out', 'canceled', 'expired', 'rejected', 'unknown')),
      creator_kind text not null,
      creator_id text not null,
      creator_name text not null,
      -- Who may see it besides those who see all: the task's creator, or the creator of ad-hoc work.
      owner_id text not null,
      timeout_ms bigint not null,
      output_cap_bytes bigint not null,
      created_at timestamptz(3) not null default now(),
      expires_at timestamptz(3) not null,
      sent_at timestamptz(3),
      sent_epoch bigint,
      sent_journal_id uuid,
      started_at timestamptz(3),
      overdue_at timestamptz(3),
      cancel_requested_at timestamptz(3),
      cancel_reason text,
      finished_at timestamptz(3),
      duration_ms bigint,
      -- Windows exit codes are unsigned 32-bit.
      exit_code bigint,
      signal text,
      reason text,
      resolved_at timestamptz(3),
      stdout_bytes bigint not null default 0,
      stdout_total_bytes bigint not null default 0,
      stdout_sha256 text,
      stdout_truncated boolean not null default false,
      stderr_bytes bigint not null default 0,
      stderr_total_bytes bigint not null default 0,
      stderr_sha256 text,
      stderr_truncated boolean not null default false
    );
    create index commands_queued_idx on commands (agent_id, created_at, command_id) where state = 'queued';
    create index commands_out_idx on commands (agent_id) where state in ('sent', 'running');
    create index commands_expiry_idx on commands (expires_at) where state = 'queued';
    create index commands_overdue_idx on commands (overdue_at) where state in ('sent', 'running');
    create index commands_batch_idx on commands (batch_id);
    create index commands_task_idx on commands (task_id, run_no, step_no) where task_id is not null;
    create index commands_agent_idx on commands (agent_id, created_at desc, command_id desc);
    create index commands_list_idx on commands (created_at desc, command_id desc);

    create function command_edge_allowed(from_state text, to_state text) returns boolean
    language sql immutable parallel safe as $$
      select case from_state
        when 'queued' then to_state in ('sent', 'canceled', 'expired', 'rejected')
        when 'sent' then to_state in
          ('running', 'succeeded', 'failed', 'timed_out', 'canceled', 'expired', 'rejected', 'unknown')
        when 'running' then to_state in ('succeeded', 'failed', 'timed_out', 'canceled', 'unknown')
        when 'unknown' then to_state in ('succeeded', 'failed', 'timed_out', 'canceled', 'expired', 'rejected')
        else false
      end
    $$;

    create function check_command_update() returns trigger language plpgsql as $$
    begin
      if new.state <> old.state then
        if not command_edge_allowed(old.state, new.state) then
          raise exception 'command % may not go from % to %', old.command_id, old.state, new.state
            using errcode = 'restrict_violation';
        end if;
        if old.state = 'unknown' and old.resolved_at is not null then
          raise exception 'command % was resolved already', old.command_id using errcode = 'restrict_violation';
        end if;
      end if;
      if new.digest <> old.digest or new.agent_id <> old.agent_id or new.batch_id <> old.batch_id
         or new.timeout_ms <> old.timeout_ms or new.output_cap_bytes <> old.output_cap_bytes
         or new.expires_at <> old.expires_at then
        raise exception 'the act of command % is write-once', old.command_id using errcode = 'restrict_violation';
      end if;
      return new;
    end $$;
    create trigger commands_check before update on commands
      for each row execute function check_command_update();

    create table command_output (
      command_id uuid not null references commands (command_id) on delete cascade,
      stream text not null check (stream in ('stdout', 'stderr')),
      byte_offset bigint not null,
      bytes bytea not null,
      primary key (command_id, stream, byte_offset)
    );
    alter table command_output alter column bytes set storage external;
  `,
  down: `
    drop table command_output;
    drop table commands;
    drop function check_command_update();
    drop function command_edge_allowed(text, text);
    drop table batches;
  `,
};
