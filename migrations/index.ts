/** Every migration, oldest first. `steelthread migrate new` adds the file and its line here. */
import { createIdentity } from './0001_create_identity.ts';
import { createAgents } from './0002_create_agents.ts';
import { createTasks } from './0003_create_tasks.ts';
import { createCommands } from './0004_create_commands.ts';
import { createEvents } from './0005_create_events.ts';
import { accounts } from './0006_accounts.ts';
import { loginAttempts } from './0007_login_attempts.ts';
import { settingsStore } from './0008_settings_store.ts';
import { tokens } from './0009_tokens.ts';
import { createAuditIndexes } from './0010_audit_indexes.ts';
import { createConversations } from './0011_conversations.ts';
import { createPostedEvents } from './0012_posted_events.ts';
import { taskVersions } from './0013_task_versions.ts';
import { agentPresence } from './0014_agent_presence.ts';
import { savedCommands } from './0015_saved_commands.ts';
import { taskListFilters } from './0016_task_list_filters.ts';
import { rollouts } from './0017_rollouts.ts';
import { alerts } from './0018_alerts.ts';
import { schedules } from './0019_schedules.ts';
import { webhooks } from './0020_webhooks.ts';
import { terminalSessions } from './0021_terminal_sessions.ts';
import { teams } from './0022_teams.ts';
import { taskDetails } from './0023_task_details.ts';
import { statsHistory } from './0024_stats_history.ts';
import { urlAgents } from './0025_url_agents.ts';
import { stepPlans } from './0026_step_plans.ts';
import { enrolmentList } from './0027_enrolment_list.ts';
import type { Migration } from './migration.ts';

export const migrations: readonly Migration[] = [
  createIdentity,
  createAgents,
  createTasks,
  createCommands,
  createEvents,
  accounts,
  loginAttempts,
  settingsStore,
  tokens,
  createAuditIndexes,
  createConversations,
  createPostedEvents,
  taskVersions,
  agentPresence,
  savedCommands,
  taskListFilters,
  rollouts,
  alerts,
  schedules,
  webhooks,
  terminalSessions,
  teams,
  taskDetails,
  statsHistory,
  urlAgents,
  stepPlans,
  enrolmentList,
];
