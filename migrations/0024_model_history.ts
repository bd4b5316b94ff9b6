import type { Migration } from './migration.ts';

export const modelHistory: Migration = {
  name: '0024_model_history',
  up: 'select 1',
  down: 'select 1',
};
