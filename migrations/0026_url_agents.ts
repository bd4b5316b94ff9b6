import type { Migration } from './migration.ts';

export const urlAgents: Migration = {
  name: '0026_url_agents',
  up: 'select 1',
  down: 'select 1',
};
