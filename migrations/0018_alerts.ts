import type { Migration } from './migration.ts';

export const alerts: Migration = {
  name: '0018_alerts',
  up: 'select 1',
  down: 'select 1',
};
