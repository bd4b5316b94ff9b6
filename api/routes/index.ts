/** Every route with a contract, by family. A new file of routes is one line here. */
import type { PresencePort } from '../../domain/agents/presence.ts';
import type { Assistant } from '../../domain/assistant/metered.ts';
import type { IdentityDeps } from '../../domain/identity/deps.ts';
import type { InstallerPort } from '../../domain/installer/port.ts';
import type { Chat } from '../../domain/metered-chat.ts';
import type { Hub } from '../events/hub.ts';
import type { MountedRoute } from '../mount.ts';
import { aliceChatRoutes } from './alice/chat.ts';
import { anantaAuditRoutes } from './ananta/audit.ts';
import { anantaAuthRoutes } from './ananta/auth.ts';
import { cspReportRoutes } from './ananta/csp-report.ts';
import { anantaMfaRoutes } from './ananta/mfa.ts';
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
import { savedCommandRoutes } from './v1/saved-commands.ts';
import { settingRoutes } from './v1/settings.ts';
import { taskRoutes } from './v1/tasks.ts';
import { ticketRoutes } from './v1/tickets.ts';
import { userRoutes } from './v1/users.ts';

/** What any route may need; a route file asks for less. */
export type RouteDeps = IdentityDeps & {
  hub: Hub;
  chat: Chat;
  assistant: Assistant;
  presence: PresencePort;
  isProduction: boolean;
  serverVersion: string;
  installer: InstallerPort;
  /** The agent of the server's own machine. */
  localAgentId: string;
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
    ...assistantRoutes(deps),
    ...savedCommandRoutes(deps),
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
    ...anantaAuditRoutes(deps),
    ...cspReportRoutes(deps),
    ...steelAuthRoutes(deps),
    ...steelEventRoutes(deps),
    ...steelJobRoutes(deps),
    ...steelCollabRoutes(deps),
    ...dexAliceAuthRoutes(deps),
    ...aliceChatRoutes(deps),
  ];
}
