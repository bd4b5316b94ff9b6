import type { Migration } from './migration.ts';

export const rollouts: Migration = {
  name: '0017_rollouts',
  up: 'select 1',
  down: 'select 1',
};
