import { noStore } from '../../../contracts/auth.ts';
import {
  type DexAliceTokens,
  type DexAliceUser,
  dexAliceLoginRoute,
  dexAliceLogoutRoute,
  dexAliceMeRoute,
  dexAliceRefreshRoute,
  dexAliceRegisterRoute,
} from '../../../contracts/families/dex-alice/auth.ts';
import type { IdentityDeps } from '../../../domain/identity/deps.ts';
import { login } from '../../../domain/identity/login.ts';
import { getOwnUser } from '../../../domain/identity/own-account.ts';
import { findOwnFamily } from '../../../domain/identity/own-session.ts';
import { refresh } from '../../../domain/identity/refresh.ts';
import { registerUser } from '../../../domain/identity/register.ts';
import { endOtherSessions, logout } from '../../../domain/identity/sessions.ts';
import type { IssuedTokens } from '../../../domain/identity/tokens.ts';
import { type MountedRoute, mount } from '../../mount.ts';

/** `/api/v1/auth` as clients of dex and of alice know it. */
export function dexAliceAuthRoutes(deps: IdentityDeps): MountedRoute[] {
  return [
    mount(dexAliceRegisterRoute, async (request) => {
      const { email, password, display_name: displayName } = request.body;
      const tokens = await registerUser(deps, request, {
        email,
        displayName,
        password,
        rules: { needsUpperAndDigit: true },
        family: 'alice',
      });
      return { status: 201, headers: noStore, body: presentTokens(tokens) };
    }),
    mount(dexAliceLoginRoute, async (request) => {
      const { username, email, password, mfa_token } = request.body;
      const tokens = await login(deps, request, {
        login: username ?? email ?? '',
        password,
        mfaToken: mfa_token || undefined,
        // Which of the two asks shows in the field that its contract names.
        family: username === undefined ? 'alice' : 'dex',
      });
      const body = { ...presentTokens(tokens), user: presentUser(tokens.user) };
      return { status: 200, headers: noStore, body };
    }),
    mount(dexAliceRefreshRoute, async (request) => {
      const tokens = await refresh(deps, request, request.body.refresh_token);
      return { status: 200, headers: noStore, body: presentTokens(tokens) };
    }),
    mount(dexAliceLogoutRoute, async (request) => {
      // Logging out is everywhere by the contract of alice.
      if ((await findOwnFamily(deps, request)) === 'alice') await endOtherSessions(deps, request);
      await logout(deps, request);
      return { status: 200, body: { message: 'Successfully logged out' } };
    }),
    mount(dexAliceMeRoute, async (request) => ({
      status: 200,
      body: presentUser(await getOwnUser(deps, request)),
    })),
  ];
}

const presentTokens = (tokens: IssuedTokens): DexAliceTokens => ({
  access_token: tokens.accessToken,
  refresh_token: tokens.refreshToken,
  token_type: 'bearer',
  expires_in: tokens.expiresIn,
});

const presentUser = (user: IssuedTokens['user']): DexAliceUser => ({
  id: user.id,
  username: user.username,
  email: user.email,
  full_name: user.displayName,
  display_name: user.displayName ?? user.username,
  avatar_url: user.avatarUrl,
  is_active: user.isActive,
  created_at: user.createdAt.toISOString(),
  updated_at: user.updatedAt.toISOString(),
  last_login: user.lastLoginAt?.toISOString() ?? null,
});
