import type { Migration } from './migration.ts';

export const webhooks: Migration = {
  name: '0020_webhooks',
  up: 'select 1',
  down: 'select 1',
};
