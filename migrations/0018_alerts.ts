import type { Migration } from './migration.ts';

/** Rules of what people want to be told, what holds of them now, and the alerts that were opened. */
export const alerts: Migration = {
  name: '0018_alerts',
  up: `
    create table alert_rules (
      id uuid primary key,
      name text not null unique,
      description text,
      severity text not null check (severity in ('info', 'warning', 'critical')),
      -- A tag expression; null: everything.
      match text,
      condition jsonb not null,
      -- The condition must be gone for this long before its alert is resolved.
      clear_ms bigint not null,
      enabled boolean not null,
      rev integer not null default 1,
      editor_kind text not null,
      editor_id text not null,
      editor_name text not null,
      created_at timestamptz(3) not null default now(),
      updated_at timestamptz(3) not null default now()
    );
    create index alert_rules_list_idx on alert_rules (created_at desc, id desc);
    create index alert_rules_enabled_idx on alert_rules (id) where enabled;

    create table alerts (
      id uuid primary key,
      rule_id uuid references alert_rules (id) on delete set null,
      -- As they were when it was opened; a rule may be changed or deleted.
      rule_name text not null,
      kind text not null,
      severity text not null,
      state text not null check (state in ('open', 'acknowledged', 'resolved')),
      subject_kind text not null check (subject_kind in ('agent', 'task', 'rollout')),
      subject_id text not null,
      agent_id text,
      -- Principal that may see it besides those who see all.
      owner_id text,
      title text not null,
      details jsonb not null,
      -- How often the condition came back, or happened again, while the alert was not resolved.
      occurrences integer not null default 1,
      note text,
      opened_at timestamptz(3) not null default now(),
      last_at timestamptz(3) not null default now(),
      acknowledged_at timestamptz(3),
      acknowledged_kind text,
      acknowledged_id text,
      acknowledged_name text,
      resolved_at timestamptz(3),
      resolution text check (resolution in ('condition_ended', 'person', 'rule_disabled', 'rule_deleted')),
      resolved_kind text,
      resolved_id text,
      resolved_name text,
      check ((state = 'resolved') = (resolved_at is not null)),
      check ((resolution is null) = (resolved_at is null))
    );
    create unique index alerts_active_idx on alerts (rule_id, subject_id) where state <> 'resolved';
    create index alerts_list_idx on alerts (opened_at desc, id desc);
    create index alerts_open_idx on alerts (opened_at desc, id desc) where state <> 'resolved';
    create index alerts_rule_idx on alerts (rule_id, opened_at desc, id desc);
    create index alerts_agent_idx on alerts (agent_id, opened_at desc, id desc) where agent_id is not null;
    create index alerts_severity_idx on alerts (severity, opened_at desc, id desc);
    create index alerts_kind_idx on alerts (kind, opened_at desc, id desc);
    create index alerts_owner_idx on alerts (owner_id, opened_at desc, id desc) where owner_id is not null;
    create index alerts_resolved_by_person_idx on alerts (rule_id, subject_id, resolved_at)
      where resolution = 'person';
    create index alerts_resolved_idx on alerts (resolved_at) where state = 'resolved';

    -- What holds now, or did until lately: written only when that changes.
    create table alert_conditions (
      rule_id uuid not null references alert_rules (id) on delete cascade,
      subject_id text not null,
      -- Both to the microsecond, like now(): rounded up, a time that is to last no time at all would not be over yet.
      since timestamptz not null,
      -- Which occurrence it is, where a condition can happen again without ending.
      evidence text,
      -- It does not hold any more; null while it does.
      ended_at timestamptz,
      -- Its alert, also when a person has resolved that one; null while it has not lasted long enough.
      alert_id uuid references alerts (id) on delete set null,
      primary key (rule_id, subject_id)
    );
    create index alert_conditions_alert_idx on alert_conditions (alert_id) where alert_id is not null;

    create index commands_trouble_idx on commands (finished_at)
      where state in ('failed', 'timed_out', 'unknown', 'expired', 'rejected');

    insert into alert_rules
        (id, name, description, severity, condition, clear_ms, enabled, editor_kind, editor_id, editor_name)
      values
        ('01890000-0000-7000-8000-0000000a1e01', 'Agent offline', 'No word of an agent for five minutes',
         'critical', '{"kind": "agent_offline", "forMs": 300000}', 60000, true,
         'system', 'migration', 'migration'),
        ('01890000-0000-7000-8000-0000000a1e02', 'Disk almost full', 'The fullest disk is over 90 % for ten minutes',
         'warning', '{"kind": "disk_over", "limitPercent": 90, "forMs": 600000}', 300000, true,
         'system', 'migration', 'migration'),
        ('01890000-0000-7000-8000-0000000a1e03', 'Outcome unknown', 'Nobody knows whether a command has run',
         'critical', '{"kind": "command_ended", "outcomes": ["unknown"], "count": 1, "withinMs": 86400000}', 0, true,
         'system', 'migration', 'migration'),
        ('01890000-0000-7000-8000-0000000a1e04', 'Decision overdue', 'A proposal waits for an hour',
         'warning', '{"kind": "approval_waiting", "forMs": 3600000}', 0, true,
         'system', 'migration', 'migration'),
        ('01890000-0000-7000-8000-0000000a1e05', 'Command failed', 'A command of an agent failed or timed out',
         'warning', '{"kind": "command_ended", "outcomes": ["failed", "timed_out"], "count": 1, "withinMs": 3600000}',
         0, false, 'system', 'migration', 'migration'),
        ('01890000-0000-7000-8000-0000000a1e06', 'Processor busy', 'Over 95 % for fifteen minutes',
         'info', '{"kind": "cpu_over", "limitPercent": 95, "forMs": 900000}', 300000, false,
         'system', 'migration', 'migration'),
        ('01890000-0000-7000-8000-0000000a1e07', 'Memory almost full', 'Over 95 % for fifteen minutes',
         'warning', '{"kind": "memory_over", "limitPercent": 95, "forMs": 900000}', 300000, false,
         'system', 'migration', 'migration');
  `,
  down: `
    drop index commands_trouble_idx;
    drop table alert_conditions;
    drop table alerts;
    drop table alert_rules;
  `,
};
