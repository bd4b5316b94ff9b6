import type { Migration } from './migration.ts';

export const terminalSessions: Migration = {
  name: '0021_terminal_sessions',
  up: 'select 1',
  down: 'select 1',
};
