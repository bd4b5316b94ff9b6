import type { Migration } from './migration.ts';

export const schedules: Migration = {
  name: '0019_schedules',
  up: 'select 1',
  down: 'select 1',
};
