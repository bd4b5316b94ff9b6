import type { Migration } from './migration.ts';

/**
 * What whoever asked for a step wants of it, beside the step itself: words for the model, models to compare, attempts.
 * And the tools of the hub that were run for a task: they are no commands, so they are no steps.
 */
export const stepPlans: Migration = {
  name: '0026_step_plans',
  up: `
    create table step_plans (
      task_id uuid not null references tasks (id) on delete cascade,
      run_no integer not null,
      step_no integer not null,
      -- Of the proposal.
      prompt text,
      model_name text,
      compared text[] not null default '{}',
      comparisons jsonb,
      -- Of the execution. Null: it is not judged, its outcome speaks for itself.
      retries integer check (retries >= 0),
      retry_delay_ms bigint not null default 0,
      ends_task boolean not null default false,
      verdict text check (verdict in ('completed', 'failed')),
      verdict_reason text,
      judged_at timestamptz(3),
      primary key (task_id, run_no, step_no)
    );

    create table tool_runs (
      id uuid primary key,
      task_id uuid not null references tasks (id) on delete cascade,
      actor_kind text not null,
      actor_id text not null,
      actor_name text not null,
      calls jsonb not null,
      outcome text not null check (outcome in ('completed', 'failed', 'blocked')),
      -- The results of the calls; of blocked ones what stood in the way.
      results jsonb not null,
      at timestamptz(3) not null default now()
    );
    create index tool_runs_task_idx on tool_runs (task_id, at desc, id desc);
  `,
  down: `
    drop table tool_runs;
    drop table step_plans;
  `,
};
