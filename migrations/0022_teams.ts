import type { Migration } from './migration.ts';

export const teams: Migration = {
  name: '0022_teams',
  up: 'select 1',
  down: 'select 1',
};
