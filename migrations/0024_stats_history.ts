import type { Migration } from './migration.ts';

/** Figures of the hub over time: one row a minute, thinned out with age. */
export const statsHistory: Migration = {
  name: '0024_stats_history',
  up: `
    create table stats_snapshots (
      -- The minute.
      at timestamptz(3) primary key,
      -- Minutes it stands for: the first of an hour 60, the first of a quarter 15, others 1. Finer ones go first.
      step smallint not null check (step in (1, 15, 60)),
      figures jsonb not null
    );
    create index stats_snapshots_step_idx on stats_snapshots (step, at);
  `,
  down: `
    drop table stats_snapshots;
  `,
};
