import type { Migration } from './migration.ts';

/**
 * What a task says of itself beside its goal, and what it waits for. `callback_url` and its token came with webhooks.
 */
export const taskDetails: Migration = {
  name: '0023_task_details',
  up: `
    alter table tasks
      -- A family's word for a state that has two (ananta: 'todo' for created).
      add column status_label text,
      -- In the words of whoever created it; the house knows low, medium, high and critical.
      add column priority text not null default 'medium',
      add column tags text[] not null default '{}',
      -- Public id of the task it is part of. Of another installation where that one delegated it, so it points nowhere.
      add column parent_task_id text,
      -- Public ids of the tasks it waits for, in the order given. Public ids never change and are never given again.
      add column depends_on text[] not null default '{}',
      -- Some task waits, or has waited, for this one: only then is anybody looked for when it completes.
      add column is_needed boolean not null default false,
      -- Since when it is blocked: what it waits is not counted against its deadline.
      add column blocked_at timestamptz(3),
      -- Ids of teams, roles and templates; what has been deleted meanwhile is no longer found there.
      add column team_id text,
      add column role_id text,
      add column template_id text,
      -- Token for the agent it is assigned to, where whoever assigned it gave one; sealed (domain/secret-box.ts).
      add column sealed_agent_token text,
      -- sha256 of the request that created it, where the client chose the id: the same request again is no conflict.
      add column request_sha256 text;

    create index tasks_waiting_idx on tasks using gin (depends_on) where state = 'blocked';
    create index tasks_parent_idx on tasks (parent_task_id, created_at desc, id desc)
      where parent_task_id is not null and deleted_at is null;
    create index tasks_team_idx on tasks (team_id, created_at desc, id desc)
      where team_id is not null and deleted_at is null;
    -- Those of a team that wait for somebody to set them going.
    create index tasks_team_waiting_idx on tasks (team_id, created_at, id)
      where team_id is not null and mode = 'manual' and state in ('created', 'assigned') and deleted_at is null;

    -- What is sealed is found again when the key changes.
    create index tasks_sealed_idx on tasks (id)
      where sealed_callback_token is not null or sealed_agent_token is not null;

    -- A blocked task has no workflow that could be lost.
    drop index tasks_idle_idx;
    create index tasks_idle_idx on tasks (progress_at)
      where ended_at is null and kind <> 'collab' and state <> 'blocked';
  `,
  down: `
    drop index tasks_idle_idx;
    create index tasks_idle_idx on tasks (progress_at) where ended_at is null and kind <> 'collab';
    drop index tasks_team_waiting_idx;
    drop index tasks_sealed_idx;
    drop index tasks_team_idx;
    drop index tasks_parent_idx;
    drop index tasks_waiting_idx;
    alter table tasks drop column request_sha256, drop column sealed_agent_token, drop column template_id,
      drop column role_id, drop column team_id, drop column blocked_at, drop column is_needed, drop column depends_on,
      drop column parent_task_id, drop column tags, drop column priority, drop column status_label;
  `,
};
