import type { Migration } from './migration.ts';

/** Webhooks: callbacks of tasks, subscriptions to events, and what was delivered. */
export const webhooks: Migration = {
  name: '0020_webhooks',
  up: `
    -- Where every change of a task's status is posted to, and the bearer token for it, sealed (domain/secret-box.ts).
    alter table tasks add column callback_url text, add column sealed_callback_token text;

    -- Subscriptions to events.
    create table webhooks (
      id uuid primary key,
      name text not null,
      url text not null,
      -- Names of events, 'prefix.*' or '*'.
      event_types text[] not null,
      sealed_secret text not null,
      -- The secret before the last rotation, which also signs for a while.
      sealed_previous_secret text,
      previous_until timestamptz(3),
      sealed_bearer_token text,
      state text not null check (state in ('active', 'paused', 'disabled')),
      -- Why it was disabled.
      state_reason text,
      -- What had been committed when it became active: it is told of everything else.
      since pg_snapshot not null default pg_current_snapshot(),
      -- The first failed attempt after the last successful one.
      failing_since timestamptz(3),
      creator_kind text not null,
      creator_id text not null,
      creator_name text not null,
      created_at timestamptz(3) not null default now(),
      updated_at timestamptz(3) not null default now()
    );
    create index webhooks_list_idx on webhooks (created_at desc, id desc);
    create index webhooks_active_idx on webhooks (id) where state = 'active';

    -- Where deliveries go to: a subscription, or the callback of a task (the id is theirs). One workflow at a time
    -- delivers to each: 'webhook/<id>/<run_no>', which sleeps until an attempt is due.
    create table webhook_targets (
      id uuid primary key,
      kind text not null check (kind in ('subscription', 'callback')),
      drain text not null default 'idle' check (drain in ('idle', 'active', 'sleeping')),
      run_no integer not null default 0,
      -- Deliveries were added that the workflow has not been told of.
      has_news boolean not null default false,
      -- When the workflow was rung for, or began a round.
      active_at timestamptz(3) not null default now()
    );
    create index webhook_targets_news_idx on webhook_targets (id) where has_news;
    create index webhook_targets_busy_idx on webhook_targets (active_at) where drain <> 'idle';

    create table webhook_deliveries (
      id uuid primary key,
      target_id uuid not null references webhook_targets (id) on delete cascade,
      -- In the order in which they came to be.
      seq bigint generated always as identity,
      -- The event it tells of; null for callbacks and tests.
      event_id bigint,
      event_type text not null,
      -- Of a callback: the state it tells of. What else it says is read when it is first sent.
      facts jsonb,
      -- Exactly what is sent and signed.
      body text,
      state text not null default 'pending' check (state in ('pending', 'delivered', 'failed', 'canceled')),
      attempts integer not null default 0,
      -- To the microsecond, like now(): rounded up, what is due at once would not be due yet.
      next_attempt_at timestamptz not null default now(),
      give_up_at timestamptz(3) not null,
      -- Of the last attempt.
      status integer,
      error_code text,
      -- The delivery that this one repeats.
      replay_of uuid,
      created_at timestamptz(3) not null default clock_timestamp(),
      ended_at timestamptz(3)
    );
    create unique index webhook_deliveries_once_idx on webhook_deliveries (target_id, event_id)
      where event_id is not null and replay_of is null;
    create index webhook_deliveries_list_idx on webhook_deliveries (target_id, created_at desc, id desc);
    create index webhook_deliveries_state_idx on webhook_deliveries (target_id, state, created_at desc, id desc);
    create index webhook_deliveries_pending_idx on webhook_deliveries (target_id, seq) where state = 'pending';
    create index webhook_deliveries_due_idx on webhook_deliveries (target_id, next_attempt_at) where state = 'pending';
    create index webhook_deliveries_ended_idx on webhook_deliveries (ended_at) where ended_at is not null;

    create table webhook_attempts (
      delivery_id uuid not null references webhook_deliveries (id) on delete cascade,
      attempt integer not null,
      at timestamptz(3) not null,
      duration_ms integer not null,
      status integer,
      error_code text,
      error text,
      -- The start of what was answered.
      response text,
      primary key (delivery_id, attempt)
    );

    -- Up to here events were taken into deliveries: everything before xid, and of xid what is not after id.
    create table webhook_cursor (
      is_only boolean primary key default true check (is_only),
      xid xid8 not null,
      id bigint not null
    );
    insert into webhook_cursor (xid, id) values (pg_snapshot_xmin(pg_current_snapshot()), 0);

    -- The word of a task's state in callbacks. Two states may share one; then nothing has changed for who is called.
    create function callback_status(state text) returns text language sql immutable as $$
      select case state
        when 'awaiting_decision' then 'proposing'
        when 'running' then 'in_progress'
        when 'expired' then 'failed'
        when 'canceled' then 'cancelled'
        else state end
    $$;

    -- In the transaction that changes the state, whoever changes it: each change is a delivery, exactly once.
    create function note_task_callback() returns trigger language plpgsql as $$
    begin
      insert into webhook_targets (id, kind, has_news) values (new.id, 'callback', true)
        on conflict (id) do update set has_news = true;
      insert into webhook_deliveries (id, target_id, event_type, facts, give_up_at)
        values (gen_random_uuid(), new.id, 'task.status',
                jsonb_build_object('status', callback_status(new.state), 'runNo', new.run_no),
                now() + interval '24 hours');
      return null;
    end $$;
    create trigger tasks_note_callback after update of state on tasks for each row
      when (new.callback_url is not null and callback_status(old.state) <> callback_status(new.state))
      execute function note_task_callback();
  `,
  down: `
    drop trigger tasks_note_callback on tasks;
    drop function note_task_callback();
    drop function callback_status(text);
    drop table webhook_cursor;
    drop table webhook_attempts;
    drop table webhook_deliveries;
    drop table webhook_targets;
    drop table webhooks;
    alter table tasks drop column sealed_callback_token, drop column callback_url;
  `,
};
