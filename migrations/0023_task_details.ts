import type { Migration } from './migration.ts';

export const taskDetails: Migration = {
  name: '0023_task_details',
  up: 'select 1',
  down: 'select 1',
};
