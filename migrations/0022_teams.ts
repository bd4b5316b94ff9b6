import { defaultTeamTypes } from './default-teams.ts';
import type { Migration } from './migration.ts';

/** As JSON in SQL; the question mark is a placeholder to knex, so it is written another way. */
const brought = JSON.stringify(defaultTeamTypes).replaceAll('?', '\\u003f');

/**
 * Templates, roles, team types, teams, and the autopilot that runs the tasks of a team. The team of a task is a column
 * of tasks that came with their other details.
 */
export const teams: Migration = {
  name: '0022_teams',
  up: `
    create table templates (
      id uuid primary key,
      name text not null,
      description text,
      prompt_template text not null,
      created_at timestamptz(3) not null default now(),
      updated_at timestamptz(3) not null default now()
    );
    create unique index templates_name_idx on templates (lower(name));

    create table team_roles (
      id uuid primary key,
      name text not null,
      description text,
      default_template_id uuid references templates (id) on delete set null,
      created_at timestamptz(3) not null default now()
    );
    create unique index team_roles_name_idx on team_roles (lower(name));
    create index team_roles_template_idx on team_roles (default_template_id) where default_template_id is not null;

    create table team_types (
      id uuid primary key,
      name text not null,
      description text,
      created_at timestamptz(3) not null default now()
    );
    create unique index team_types_name_idx on team_types (lower(name));

    -- Which roles a team of the type may have, and what speaks for them.
    create table team_type_roles (
      team_type_id uuid not null references team_types (id) on delete cascade,
      role_id uuid not null references team_roles (id) on delete cascade,
      template_id uuid references templates (id) on delete set null,
      position integer not null generated always as identity,
      primary key (team_type_id, role_id)
    );
    create index team_type_roles_role_idx on team_type_roles (role_id);
    create index team_type_roles_template_idx on team_type_roles (template_id) where template_id is not null;

    create table teams (
      id uuid primary key,
      name text not null,
      description text,
      team_type_id uuid references team_types (id) on delete set null,
      is_active boolean not null default false,
      created_at timestamptz(3) not null default now(),
      updated_at timestamptz(3) not null default now()
    );
    create index teams_list_idx on teams (created_at, id);
    create index teams_type_idx on teams (team_type_id) where team_type_id is not null;
    -- At most one team is active.
    create unique index teams_active_idx on teams (is_active) where is_active;

    -- What speaks for a role in this team: taken over from its type when the team is made.
    create table team_role_templates (
      team_id uuid not null references teams (id) on delete cascade,
      role_id uuid not null references team_roles (id) on delete cascade,
      template_id uuid not null references templates (id) on delete cascade,
      primary key (team_id, role_id)
    );
    create index team_role_templates_role_idx on team_role_templates (role_id);
    create index team_role_templates_template_idx on team_role_templates (template_id);

    create table team_members (
      id uuid primary key,
      team_id uuid not null references teams (id) on delete cascade,
      position integer not null,
      -- As it was given: an agent's id, host name or URL. The agent may come later.
      agent_ref text not null,
      role_id uuid not null references team_roles (id),
      custom_template_id uuid references templates (id) on delete set null
    );
    create index team_members_team_idx on team_members (team_id, position);
    create index team_members_role_idx on team_members (role_id);
    create index team_members_template_idx on team_members (custom_template_id) where custom_template_id is not null;

    -- One row: how the tasks of a team are set going by themselves.
    create table autopilot (
      id boolean primary key default true check (id),
      running boolean not null default false,
      -- Raised by every start; tasks carry the session that set them going.
      session integer not null default 0,
      interval_ms bigint not null,
      max_concurrency integer not null,
      goal text not null default '',
      -- Null: whichever team is active.
      team_id uuid references teams (id) on delete set null,
      budget_label text not null default '',
      security_level text not null check (security_level in ('safe', 'balanced', 'aggressive')),
      started_at timestamptz(3),
      last_tick_at timestamptz(3),
      tick_count bigint not null default 0,
      dispatched_count bigint not null default 0,
      last_reason text,
      last_error text
    );
    insert into autopilot (interval_ms, max_concurrency, security_level) values (20000, 2, 'safe');

    alter table tasks add column autopilot_session integer;
    create index tasks_autopilot_idx on tasks (autopilot_session) where autopilot_session is not null;

    -- The hub's configuration: one row a key, JSON.
    alter table settings drop constraint settings_namespace_check;
    alter table settings add constraint settings_namespace_check
      check (namespace in ('config', 'model', 'custom', 'system', 'hub'));

    with brought as (
      select t.id, t.name, t.description, t.roles
      from jsonb_to_recordset($brought$${brought}$brought$) as t (id uuid, name text, description text, roles jsonb)
    ), roles as (
      select b.id as type_id, r.*
      from brought b cross join lateral jsonb_to_recordset(b.roles)
        as r (id uuid, name text, description text, "templateId" uuid, "templateName" text, prompt text)
    ), made_templates as (
      insert into templates (id, name, description, prompt_template)
      select "templateId", "templateName", description, prompt from roles returning id
    ), made_roles as (
      insert into team_roles (id, name, description, default_template_id)
      select distinct on (id) id, name, description, "templateId" from roles order by id, "templateId" returning id
    ), made_types as (
      insert into team_types (id, name, description) select id, name, description from brought returning id
    )
    insert into team_type_roles (team_type_id, role_id, template_id)
    select type_id, id, "templateId" from roles order by "templateId";
  `,
  down: `
    delete from settings where namespace = 'hub';
    alter table settings drop constraint settings_namespace_check;
    alter table settings add constraint settings_namespace_check
      check (namespace in ('config', 'model', 'custom', 'system'));
    drop index tasks_autopilot_idx;
    alter table tasks drop column autopilot_session;
    drop table autopilot;
    drop table team_members;
    drop table team_role_templates;
    drop table teams;
    drop table team_type_roles;
    drop table team_types;
    drop table team_roles;
    drop table templates;
  `,
};
