/** Every route with a contract, by family. A new file of routes is one line here. */
import type { PresencePort } from '../../domain/agents/presence.ts';
import type { Assistant } from '../../domain/assistant/metered.ts';
import type { HubTools } from '../../domain/hub-tools/run.ts';
import type { IdentityDeps } from '../../domain/identity/deps.ts';
import type { InstallerPort } from '../../domain/installer/port.ts';
import type { Chat } from '../../domain/metered-chat.ts';
import type { RepoContextSource } from '../../domain/repo-context/context.ts';
import type { ReadResources } from '../../domain/stats/stats.ts';
import type { StepModel } from '../../domain/tasks/compare-models.ts';
import type { UrlAgentDeps } from '../../domain/url-agents/deps.ts';
import type { WebhookDeps } from '../../domain/webhooks/deps.ts';
import type { Hub } from '../events/hub.ts';
import type { MountedRoute } from '../mount.ts';
import { aliceChatRoutes } from './alice/chat.ts';
import { anantaApproveRoutes } from './ananta/approve.ts';
import { anantaAuditRoutes } from './ananta/audit.ts';
import { anantaAuthRoutes } from './ananta/auth.ts';
import { anantaAutopilotRoutes } from './ananta/autopilot.ts';
import { anantaConfigRoutes } from './ananta/config.ts';
import { cspReportRoutes } from './ananta/csp-report.ts';
import { anantaHubRoutes } from './ananta/hubs.ts';
import { anantaLlmRoutes } from './ananta/llm.ts';
import { anantaMfaRoutes } from './ananta/mfa.ts';
import { anantaScheduleRoutes } from './ananta/schedule.ts';
import { anantaSgptRoutes } from './ananta/sgpt.ts';
import { anantaStepRoutes } from './ananta/steps.ts';
import { anantaSystemRoutes } from './ananta/system.ts';
import { anantaTaskRoutes } from './ananta/tasks.ts';
import { anantaTeamRoutes } from './ananta/teams.ts';
import { anantaTemplateRoutes } from './ananta/templates.ts';
import { anantaUserRoutes } from './ananta/users.ts';
import { dexAgentRoutes } from './dex/agents.ts';
import { dexAiRoutes } from './dex/ai.ts';
import { dexCommandRoutes } from './dex/commands.ts';
import { dexInstallerRoutes } from './dex/installer.ts';
import { dexSavedCommandRoutes } from './dex/saved-commands.ts';
import { dexSettingRoutes } from './dex/settings.ts';
import { dexSystemRoutes } from './dex/system.ts';
import { dexAliceAuthRoutes } from './dex-alice/auth.ts';
import { steelAuthRoutes } from './steel/auth.ts';
import { steelCollabRoutes } from './steel/collab.ts';
import { steelEventRoutes } from './steel/events.ts';
import { steelJobRoutes } from './steel/jobs.ts';
import { agentGroupRoutes } from './v1/agent-groups.ts';
import { agentRoutes } from './v1/agents.ts';
import { alertRuleRoutes } from './v1/alert-rules.ts';
import { alertRoutes } from './v1/alerts.ts';
import { apiTokenRoutes } from './v1/api-tokens.ts';
import { assistantRoutes } from './v1/assistant.ts';
import { auditRoutes } from './v1/audit.ts';
import { authRoutes } from './v1/auth.ts';
import { banRoutes } from './v1/bans.ts';
import { commandRoutes } from './v1/commands.ts';
import { conversationRoutes } from './v1/conversations.ts';
import { eventRoutes } from './v1/events.ts';
import { installerRoutes } from './v1/installers.ts';
import { mfaRoutes } from './v1/mfa.ts';
import { rolloutRoutes } from './v1/rollouts.ts';
import { savedCommandRoutes } from './v1/saved-commands.ts';
import { scheduleRoutes } from './v1/schedules.ts';
import { settingRoutes } from './v1/settings.ts';
import { taskRoutes } from './v1/tasks.ts';
import { terminalRoutes } from './v1/terminals.ts';
import { ticketRoutes } from './v1/tickets.ts';
import { userRoutes } from './v1/users.ts';
import { webhookRoutes } from './v1/webhooks.ts';

/** What any route may need; a route file asks for less. */
export type RouteDeps = IdentityDeps & {
  hub: Hub;
  chat: Chat;
  assistant: Assistant;
  webhookUrls: WebhookDeps['webhookUrls'];
  agentUrls: UrlAgentDeps['agentUrls'];
  presence: PresencePort;
  isProduction: boolean;
  /** Name under which the server answers. */
  serverName: string;
  serverVersion: string;
  readResources: ReadResources;
  installer: InstallerPort;
  /** The agent of the server's own machine. */
  localAgentId: string;
  /** For proposals that belong to no task, and to know which models there are. */
  llm: StepModel;
  /** Tools of the hub. */
  tools: HubTools;
  /** Parts of the source folder that fit a question. */
  repoContext: RepoContextSource;
};

export function createRoutes(deps: RouteDeps): MountedRoute[] {
  return [
    ...authRoutes(deps),
    ...mfaRoutes(deps),
    ...banRoutes(deps),
    ...userRoutes(deps),
    ...ticketRoutes(deps),
    ...apiTokenRoutes(deps),
    ...agentRoutes(deps),
    ...agentGroupRoutes(deps),
    ...installerRoutes(deps),
    ...taskRoutes(deps),
    ...commandRoutes(deps),
    ...terminalRoutes(deps),
    ...assistantRoutes(deps),
    ...savedCommandRoutes(deps),
    ...scheduleRoutes(deps),
    ...rolloutRoutes(deps),
    ...alertRoutes(deps),
    ...alertRuleRoutes(deps),
    ...webhookRoutes(deps),
    ...eventRoutes(deps),
    ...conversationRoutes(deps),
    ...auditRoutes(deps),
    ...settingRoutes(deps),
    ...dexAgentRoutes(deps),
    ...dexCommandRoutes(deps),
    ...dexAiRoutes(deps),
    ...dexSystemRoutes(deps),
    ...dexInstallerRoutes(deps),
    ...dexSettingRoutes(deps),
    ...dexSavedCommandRoutes(deps),
    ...anantaAuthRoutes(deps),
    ...anantaMfaRoutes(deps),
    ...anantaUserRoutes(deps),
    ...anantaTaskRoutes(deps),
    ...anantaAuditRoutes(deps),
    ...anantaHubRoutes(deps),
    ...anantaStepRoutes(deps),
    ...anantaApproveRoutes(deps),
    ...anantaTeamRoutes(deps),
    ...anantaTemplateRoutes(deps),
    ...anantaConfigRoutes(deps),
    ...anantaLlmRoutes(deps),
    ...anantaSgptRoutes(deps),
    ...anantaAutopilotRoutes(deps),
    ...anantaScheduleRoutes(deps),
    ...anantaSystemRoutes(deps),
    ...cspReportRoutes(deps),
    ...steelAuthRoutes(deps),
    ...steelEventRoutes(deps),
    ...steelJobRoutes(deps),
    ...steelCollabRoutes(deps),
    ...dexAliceAuthRoutes(deps),
    ...aliceChatRoutes(deps),
  ];
}
