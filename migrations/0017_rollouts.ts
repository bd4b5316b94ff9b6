import type { Migration } from './migration.ts';

/** Rollouts: one run over many agents, batch after batch. */
export const rollouts: Migration = {
  name: '0017_rollouts',
  up: `
    -- Each kind of workflow that is started through the outbox has a start of its own name.
    alter table outbox drop constraint outbox_kind_check;
    alter table outbox add constraint outbox_kind_check check (kind ~ '^(signal|start_[a-z_]+)$');

    create table rollouts (
      id uuid primary key,
      name text not null,
      state text not null check (state in
        ('created', 'running', 'waiting', 'awaiting_approval', 'paused', 'completed', 'failed', 'canceled', 'expired')),
      -- Counts what people did; a signal names the number, so that an older one wakes nobody.
      rev bigint not null default 0,
      creator_kind text not null,
      creator_id text not null,
      creator_name text not null,
      -- How the targets were selected; the targets themselves are frozen in rollout_targets.
      selection jsonb not null,
      -- What runs, as a person reads it; the exact acts are in acts, by the digests of the targets.
      run jsonb not null,
      plan jsonb not null,
      rerun_of uuid references rollouts (id) on delete set null,
      target_count integer not null check (target_count > 0),
      batch_count integer not null check (batch_count > 0),
      has_canary boolean not null,
      -- The batch that began last; 0 before the first.
      batch_no integer not null default 0 check (batch_no between 0 and batch_count),
      -- Of the batches that have ended.
      succeeded_count integer not null default 0,
      failed_count integer not null default 0,
      canceled_count integer not null default 0,
      skipped_count integer not null default 0,
      next_batch_at timestamptz(3),
      approval_expires_at timestamptz(3),
      paused_at timestamptz(3),
      cancel_requested_at timestamptz(3),
      cancel_reason text,
      reason text,
      namespace_id text,
      progress_at timestamptz(3) not null default now(),
      created_at timestamptz(3) not null default now(),
      started_at timestamptz(3),
      ended_at timestamptz(3),
      updated_at timestamptz(3) not null default now()
    );
    create index rollouts_list_idx on rollouts (created_at desc, id desc);
    create index rollouts_state_idx on rollouts (state, created_at desc, id desc);
    create index rollouts_idle_idx on rollouts (progress_at) where ended_at is null;

    create table rollout_batches (
      rollout_id uuid not null references rollouts (id) on delete cascade,
      batch_no integer not null check (batch_no > 0),
      size integer not null check (size > 0),
      -- Binds an approval to the acts and agents of the batch.
      digest text not null,
      -- On the ledger: one for each act.
      batch_ids uuid[] not null default '{}',
      approver_kind text,
      approver_id text,
      approver_name text,
      approved_at timestamptz(3),
      started_at timestamptz(3),
      finished_at timestamptz(3),
      succeeded_count integer not null default 0,
      failed_count integer not null default 0,
      canceled_count integer not null default 0,
      skipped_count integer not null default 0,
      primary key (rollout_id, batch_no)
    );

    create table rollout_targets (
      rollout_id uuid not null references rollouts (id) on delete cascade,
      position integer not null,
      agent_id text not null references agents (id),
      batch_no integer not null,
      -- Null: nothing of what is to run fits the agent.
      digest text references acts (digest),
      command_id uuid,
      -- How its command ended when its batch was in, or 'skipped'; null before.
      outcome text,
      reason text,
      primary key (rollout_id, position),
      unique (rollout_id, agent_id)
    );
    create index rollout_targets_batch_idx on rollout_targets (rollout_id, batch_no, position);
  `,
  down: `
    drop table rollout_targets;
    drop table rollout_batches;
    drop table rollouts;
    alter table outbox drop constraint outbox_kind_check;
    delete from outbox where kind not in ('start_task', 'signal', 'start_delivery');
    alter table outbox add constraint outbox_kind_check check (kind in ('start_task', 'signal', 'start_delivery'));
  `,
};
