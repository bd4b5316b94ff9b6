/** Every route with a contract, by family. A new file of routes is one line here. */
import type { IdentityDeps } from '../../domain/identity/deps.ts';
import type { Hub } from '../events/hub.ts';
import type { MountedRoute } from '../mount.ts';
import { agentRoutes } from './v1/agents.ts';
import { authRoutes } from './v1/auth.ts';
import { commandRoutes } from './v1/commands.ts';
import { eventRoutes } from './v1/events.ts';
import { taskRoutes } from './v1/tasks.ts';

/** What any route may need; a route file asks for less. */
export type RouteDeps = IdentityDeps & { hub: Hub };

export function createRoutes(deps: RouteDeps): MountedRoute[] {
  return [
    ...authRoutes(deps),
    ...agentRoutes(deps),
    ...taskRoutes(deps),
    ...commandRoutes(deps),
    ...eventRoutes(deps),
  ];
}
