/** Every route with a contract, by family. A new file of routes is one line here. */
import type { PresencePort } from '../../domain/agents/presence.ts';
import type { IdentityDeps } from '../../domain/identity/deps.ts';
import type { Chat } from '../../domain/metered-chat.ts';
import type { Hub } from '../events/hub.ts';
import type { MountedRoute } from '../mount.ts';
import { aliceChatRoutes } from './alice/chat.ts';
import { anantaAuditRoutes } from './ananta/audit.ts';
import { anantaAuthRoutes } from './ananta/auth.ts';
import { cspReportRoutes } from './ananta/csp-report.ts';
import { anantaMfaRoutes } from './ananta/mfa.ts';
import { anantaUserRoutes } from './ananta/users.ts';
import { dexSettingRoutes } from './dex/settings.ts';
import { dexAliceAuthRoutes } from './dex-alice/auth.ts';
import { steelAuthRoutes } from './steel/auth.ts';
import { steelEventRoutes } from './steel/events.ts';
import { agentRoutes } from './v1/agents.ts';
import { apiTokenRoutes } from './v1/api-tokens.ts';
import { auditRoutes } from './v1/audit.ts';
import { authRoutes } from './v1/auth.ts';
import { banRoutes } from './v1/bans.ts';
import { commandRoutes } from './v1/commands.ts';
import { conversationRoutes } from './v1/conversations.ts';
import { eventRoutes } from './v1/events.ts';
import { mfaRoutes } from './v1/mfa.ts';
import { settingRoutes } from './v1/settings.ts';
import { taskRoutes } from './v1/tasks.ts';
import { ticketRoutes } from './v1/tickets.ts';
import { userRoutes } from './v1/users.ts';

/** What any route may need; a route file asks for less. */
export type RouteDeps = IdentityDeps & { hub: Hub; chat: Chat; presence: PresencePort; isProduction: boolean };

export function createRoutes(deps: RouteDeps): MountedRoute[] {
  return [
    ...authRoutes(deps),
    ...mfaRoutes(deps),
    ...banRoutes(deps),
    ...userRoutes(deps),
    ...ticketRoutes(deps),
    ...apiTokenRoutes(deps),
    ...agentRoutes(deps),
    ...taskRoutes(deps),
    ...commandRoutes(deps),
    ...eventRoutes(deps),
    ...conversationRoutes(deps),
    ...auditRoutes(deps),
    ...settingRoutes(deps),
    ...dexSettingRoutes(deps),
    ...anantaAuthRoutes(deps),
    ...anantaMfaRoutes(deps),
    ...anantaUserRoutes(deps),
    ...anantaAuditRoutes(deps),
    ...cspReportRoutes(deps),
    ...steelAuthRoutes(deps),
    ...steelEventRoutes(deps),
    ...dexAliceAuthRoutes(deps),
    ...aliceChatRoutes(deps),
  ];
}
