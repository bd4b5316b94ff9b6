import type { Migration } from './migration.ts';

/** Events, audit trail with seals, outbox, idempotency keys, model usage. */
export const createEvents: Migration = {
  name: '0005_create_events',
  up: `
    -- Ids are handed out before commits: consumers order by (xid, id) below pg_snapshot_xmin, never by id alone.
    create table events (
      id bigint generated always as identity primary key,
      xid xid8 not null default pg_current_xact_id(),
      at timestamptz(3) not null default clock_timestamp(),
      type text not null,
      task_id uuid,
      command_id uuid,
      batch_id uuid,
      agent_id text,
      owner_id text,
      data jsonb not null default '{}'
    );
    create index events_xid_idx on events (xid, id);
    create index events_task_idx on events (task_id, id) where task_id is not null;
    create index events_at_idx on events (at);

    create table audit_seals (
      seal_no bigint primary key,
      previous_hash text not null,
      hash text not null,
      row_count integer not null,
      sealed_at timestamptz(3) not null default now()
    );
    create trigger audit_seals_write_once before update on audit_seals for each row execute function refuse_update();

    create table audit_events (
      id bigint generated always as identity primary key,
      xid xid8 not null default pg_current_xact_id(),
      at timestamptz(3) not null default clock_timestamp(),
      principal_kind text not null,
      principal_id text not null,
      principal_name text not null,
      session_id uuid,
      address text,
      request_id text,
      action text not null,
      target_kind text not null,
      target_id text not null,
      outcome text not null check (outcome in ('success', 'denied', 'failed')),
      details jsonb not null default '{}',
      seal_no bigint references audit_seals (seal_no),
      seal_position integer
    );
    create index audit_events_unsealed_idx on audit_events (xid, id) where seal_no is null;
    create index audit_events_seal_idx on audit_events (seal_no, seal_position) where seal_no is not null;
    create index audit_events_target_idx on audit_events (target_kind, target_id, id);
    create index audit_events_at_idx on audit_events (at desc, id desc);

    create function check_audit_update() returns trigger language plpgsql as $$
    begin
      if tg_op = 'DELETE' or old.seal_no is not null
         or to_jsonb(new) - 'seal_no' - 'seal_position' <> to_jsonb(old) - 'seal_no' - 'seal_position' then
        raise exception 'audit rows are write-once' using errcode = 'restrict_violation';
      end if;
      return new;
    end $$;
    create trigger audit_events_write_once before update or delete on audit_events
      for each row execute function check_audit_update();

    -- What Temporal must still hear. A row is deleted when it was delivered.
    create table outbox (
      id bigint generated always as identity primary key,
      workflow_id text not null,
      kind text not null check (kind in ('start_task', 'signal', 'start_delivery')),
      payload jsonb not null,
      attempts integer not null default 0,
      next_attempt_at timestamptz(3) not null default now(),
      last_error text,
      created_at timestamptz(3) not null default now()
    );
    create index outbox_workflow_idx on outbox (workflow_id, id);
    create index outbox_due_idx on outbox (next_attempt_at);

    create table idempotency_keys (
      principal_id text not null,
      key text not null,
      body_sha256 text not null,
      resource_kind text not null,
      resource_id text not null,
      created_at timestamptz(3) not null default now(),
      primary key (principal_id, key)
    );
    create index idempotency_keys_created_idx on idempotency_keys (created_at);

    create table llm_calls (
      id bigint generated always as identity primary key,
      at timestamptz(3) not null default now(),
      purpose text not null,
      task_id uuid,
      principal_id text not null,
      model text not null,
      mock boolean not null,
      input_tokens integer not null,
      output_tokens integer not null,
      cost_usd numeric(14, 6) not null,
      outcome text not null
    );
    create index llm_calls_task_idx on llm_calls (task_id) where task_id is not null;
    create index llm_calls_day_idx on llm_calls (at, principal_id);
  `,
  down: `
    drop table llm_calls;
    drop table idempotency_keys;
    drop table outbox;
    drop table audit_events;
    drop function check_audit_update();
    drop table audit_seals;
    drop table events;
  `,
};
