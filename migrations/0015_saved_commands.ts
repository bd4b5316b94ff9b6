import type { Migration } from './migration.ts';
import { systemCommands } from './system-commands.ts';

/** As JSON in SQL; the question mark is a placeholder to knex, so it is written another way. */
const brought = JSON.stringify(systemCommands).replaceAll('?', '\\u003f');

/** Saved commands with every revision they had, what they have run, and those that come with the system. */
export const savedCommands: Migration = {
  name: '0015_saved_commands',
  up: `
    create table saved_commands (
      id uuid primary key,
      is_system boolean not null default false,
      -- The present one of its revisions.
      revision integer not null,
      created_at timestamptz(3) not null default now(),
      updated_at timestamptz(3) not null default now(),
      deleted_at timestamptz(3)
    );
    create index saved_commands_list_idx on saved_commands (created_at desc, id desc) where deleted_at is null;

    -- Write-once: a change is a new row.
    create table saved_command_revisions (
      saved_command_id uuid not null references saved_commands (id) on delete cascade,
      revision integer not null,
      name text not null,
      description text,
      category text not null,
      tags text[] not null,
      scripts jsonb not null,
      parameters jsonb not null,
      version text not null,
      author text,
      auto_approve boolean not null,
      editor_kind text not null,
      editor_id text not null,
      editor_name text not null,
      created_at timestamptz(3) not null default now(),
      primary key (saved_command_id, revision)
    );

    create table saved_command_runs (
      id uuid primary key,
      saved_command_id uuid not null references saved_commands (id) on delete cascade,
      revision integer not null,
      batch_ids uuid[] not null,
      refused jsonb not null,
      created_at timestamptz(3) not null default now()
    );
    create index saved_command_runs_command_idx on saved_command_runs (saved_command_id, created_at desc);

    with brought as (
      select * from jsonb_to_recordset($brought$${brought}$brought$)
        as b (id uuid, name text, description text, category text, tags jsonb, scripts jsonb, parameters jsonb)
    ), made as (
      insert into saved_commands (id, is_system, revision) select id, true, 1 from brought returning id
    )
    insert into saved_command_revisions (saved_command_id, revision, name, description, category, tags, scripts,
        parameters, version, author, auto_approve, editor_kind, editor_id, editor_name)
      select b.id, 1, b.name, b.description, b.category, array(select jsonb_array_elements_text(b.tags)), b.scripts,
             b.parameters, '1.0', 'Steelthread', false, 'system', 'migration', 'migration'
      from brought b join made m on m.id = b.id;
  `,
  down: `
    drop table saved_command_runs;
    drop table saved_command_revisions;
    drop table saved_commands;
  `,
};
