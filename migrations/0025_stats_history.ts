import type { Migration } from './migration.ts';

export const statsHistory: Migration = {
  name: '0025_stats_history',
  up: 'select 1',
  down: 'select 1',
};
