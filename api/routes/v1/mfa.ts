import { noStore } from '../../../contracts/auth.ts';
import {
  disableMfaRoute,
  getMfaRoute,
  resetMfaRoute,
  setupMfaRoute,
  verifyMfaRoute,
} from '../../../contracts/mfa.ts';
import type { IdentityDeps } from '../../../domain/identity/deps.ts';
import { disableMfa, getMfaStatus, resetMfa, setupMfa, verifyMfa } from '../../../domain/identity/mfa.ts';
import { type MountedRoute, mount } from '../../mount.ts';

/** `/v1/auth/mfa`: the second factor of one's own account; `/v1/users/{id}/mfa`: of another. */
export function mfaRoutes(deps: IdentityDeps): MountedRoute[] {
  return [
    mount(getMfaRoute, async (request) => ({ status: 200, body: await getMfaStatus(deps, request) })),
    mount(setupMfaRoute, async (request) => {
      return { status: 200, headers: noStore, body: await setupMfa(deps, request) };
    }),
    mount(verifyMfaRoute, async (request) => {
      return { status: 200, headers: noStore, body: await verifyMfa(deps, request, request.body.token) };
    }),
    mount(disableMfaRoute, async (request) => {
      await disableMfa(deps, request, request.body);
      return { status: 204 };
    }),
    mount(resetMfaRoute, async (request) => {
      await resetMfa(deps, request, request.params.id);
      return { status: 204 };
    }),
  ];
}
