import { noStore } from '../../../contracts/auth.ts';
import {
  type SteelTokens,
  steelLoginRoute,
  steelLogoutRoute,
  steelRefreshRoute,
  steelUserRoute,
} from '../../../contracts/families/steel/auth.ts';
import { steelTime } from '../../../contracts/families/steel/time.ts';
import type { IdentityDeps } from '../../../domain/identity/deps.ts';
import { login } from '../../../domain/identity/login.ts';
import { getOwnUser } from '../../../domain/identity/own-account.ts';
import { refresh } from '../../../domain/identity/refresh.ts';
import { logout } from '../../../domain/identity/sessions.ts';
import type { IssuedTokens } from '../../../domain/identity/tokens.ts';
import { type MountedRoute, mount } from '../../mount.ts';

/** `/auth` as clients of steel know it. */
export function steelAuthRoutes(deps: IdentityDeps): MountedRoute[] {
  return [
    mount(steelLoginRoute, async (request) => {
      const { username, password, mfa_token } = request.body;
      const attempt = {
        login: username,
        password,
        mfaToken: mfa_token || undefined,
        family: 'steel',
      } as const;
      const tokens = await login(deps, request, attempt);
      return { status: 200, headers: noStore, body: presentTokens(tokens) };
    }),
    mount(steelRefreshRoute, async (request) => {
      const tokens = await refresh(deps, request, request.body.refresh_token);
      return { status: 200, headers: noStore, body: presentTokens(tokens) };
    }),
    mount(steelUserRoute, async (request) => {
      const user = await getOwnUser(deps, request);
      const { id, username, email, role, isActive } = user;
      const body = { id, username, email, role, active: isActive, created_at: steelTime(user.createdAt) };
      return { status: 200, body };
    }),
    mount(steelLogoutRoute, async (request) => {
      await logout(deps, request);
      const wasRevoked = request.principal.sessionId !== null;
      return { status: 200, body: { message: 'Successfully logged out', token_revoked: wasRevoked } };
    }),
  ];
}

const presentTokens = (tokens: IssuedTokens): SteelTokens => ({
  access_token: tokens.accessToken,
  token_type: 'bearer',
  expires_in: tokens.expiresIn,
  refresh_token: tokens.refreshToken,
});
