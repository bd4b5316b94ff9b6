import { loginRoute, logoutRoute, meRoute, noStore, refreshRoute } from '../../../contracts/auth.ts';
import type { IdentityDeps } from '../../../domain/identity/deps.ts';
import { login } from '../../../domain/identity/login.ts';
import { getOwnUser } from '../../../domain/identity/own-account.ts';
import { presentTokens, presentUser } from '../../../domain/identity/present-user.ts';
import { refresh } from '../../../domain/identity/refresh.ts';
import { logout } from '../../../domain/identity/sessions.ts';
import { type MountedRoute, mount } from '../../mount.ts';

/** `/v1/auth`: opening, prolonging and ending sessions. */
export function authRoutes(deps: IdentityDeps): MountedRoute[] {
  return [
    mount(loginRoute, async (request) => {
      const { username, password, mfaToken } = request.body;
      const tokens = await login(deps, request, { login: username, password, mfaToken, family: 'house' });
      return { status: 200, headers: noStore, body: presentTokens(tokens) };
    }),
    mount(refreshRoute, async (request) => {
      const tokens = await refresh(deps, request, request.body.refreshToken);
      return { status: 200, headers: noStore, body: presentTokens(tokens) };
    }),
    mount(logoutRoute, async (request) => {
      await logout(deps, request);
      return { status: 204 };
    }),
    mount(meRoute, async (request) => ({ status: 200, body: presentUser(await getOwnUser(deps, request)) })),
  ];
}
