/** Every migration, oldest first. `steelthread migrate new` adds the file and its line here. */
import { createIdentity } from './0001_create_identity.ts';
import { createAgents } from './0002_create_agents.ts';
import { createTasks } from './0003_create_tasks.ts';
import { createCommands } from './0004_create_commands.ts';
import { createEvents } from './0005_create_events.ts';
import type { Migration } from './migration.ts';

export const migrations: readonly Migration[] = [
  createIdentity,
  createAgents,
  createTasks,
  createCommands,
  createEvents,
];
