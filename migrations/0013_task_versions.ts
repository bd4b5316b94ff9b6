import type { Migration } from './migration.ts';

/**
 * Counts what changes of jobs and collaboration tasks, so that "nothing has changed" is answered without reading them.
 * Tasks of people and programs (`kind = 'task'`) are not counted: the condition of the triggers passes them by.
 */
export const taskVersions: Migration = {
  name: '0013_task_versions',
  up: `
    -- The version of a kind, for whoever sees all of it ('*') or what one principal created, is the sum of its rows.
    -- Changes only add rows, so no change waits for another, and the sum grows with every commit in whatever order
    -- they come: a reader that finds the same sum has missed nothing. (A highest number would not say so: numbers are
    -- handed out before commits.)
    create table task_versions (
      kind text not null,
      visible_to text not null,
      changes bigint not null
    ) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
    create index task_versions_idx on task_versions (kind, visible_to) include (changes);

    create function count_task_change() returns trigger language plpgsql as $$
    declare
      task tasks := coalesce(new, old);
      viewer text;
    begin
      foreach viewer in array array[task.creator_id, '*'] loop
        insert into task_versions (kind, visible_to, changes) values (task.kind, viewer, 1);
        -- Now and then the rows that have gathered become one. Rows that another transaction is putting together are
        -- left to it, so nobody waits; the sum is the same before and after.
        if random() < 1.0 / 64 then
          with gathered as (
            delete from task_versions where ctid = any(array(
              select ctid from task_versions v where v.kind = task.kind and v.visible_to = viewer
              for update skip locked))
            returning changes
          )
          insert into task_versions (kind, visible_to, changes)
          select task.kind, viewer, sum(changes) from gathered having count(*) > 0;
        end if;
      end loop;
      return null;
    end $$;

    create trigger tasks_count_new after insert on tasks for each row
      when (new.kind <> 'task') execute function count_task_change();
    create trigger tasks_count_gone after delete on tasks for each row
      when (old.kind <> 'task') execute function count_task_change();
    -- All that a list or a task shows, or that decides whether it is shown.
    create trigger tasks_count_changed after update on tasks for each row
      when (new.kind <> 'task' and
            (old.rev, old.title, old.goal, old.state, old.updated_at, old.archived_at, old.deleted_at)
            is distinct from
            (new.rev, new.title, new.goal, new.state, new.updated_at, new.archived_at, new.deleted_at))
      execute function count_task_change();

    create index tasks_kind_idx on tasks (kind, created_at desc, id desc)
      where kind <> 'task' and deleted_at is null;
    create index tasks_own_kind_idx on tasks (kind, creator_id, created_at desc, id desc)
      where kind <> 'task' and deleted_at is null;

    -- A collaboration task has no workflow that could be lost.
    drop index tasks_idle_idx;
    create index tasks_idle_idx on tasks (progress_at) where ended_at is null and kind <> 'collab';
  `,
  down: `
    drop index tasks_idle_idx;
    create index tasks_idle_idx on tasks (progress_at) where ended_at is null;
    drop index tasks_own_kind_idx;
    drop index tasks_kind_idx;
    drop trigger tasks_count_changed on tasks;
    drop trigger tasks_count_gone on tasks;
    drop trigger tasks_count_new on tasks;
    drop function count_task_change();
    drop table task_versions;
  `,
};
