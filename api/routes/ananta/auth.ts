import { noStore } from '../../../contracts/auth.ts';
import { isProblem } from '../../../contracts/errors.ts';
import {
  ANANTA_MIN_PASSWORD_LENGTH,
  type AnantaTokens,
  anantaChangePasswordRoutes,
  anantaLoginRoutes,
  anantaMeRoutes,
  anantaRefreshRoutes,
} from '../../../contracts/families/ananta/auth.ts';
import { changePassword } from '../../../domain/identity/change-password.ts';
import type { IdentityDeps } from '../../../domain/identity/deps.ts';
import { login } from '../../../domain/identity/login.ts';
import { findMfaOwners, isMfaOwner } from '../../../domain/identity/mfa-owners.ts';
import { getOwnUser } from '../../../domain/identity/own-account.ts';
import { refresh } from '../../../domain/identity/refresh.ts';
import type { IssuedTokens } from '../../../domain/identity/tokens.ts';
import type { MountedRoute } from '../../mount.ts';
import { mountAll } from '../mount-all.ts';
import { given, success } from './envelope.ts';

/** `/login`, `/refresh-token`, `/me`, `/change-password`, and the same under `/api/auth`. */
export function anantaAuthRoutes(deps: IdentityDeps): MountedRoute[] {
  return [
    ...mountAll(anantaLoginRoutes, async (request) => {
      const missing = 'Missing username or password';
      const username = given(request.body.username, missing);
      const password = given(request.body.password, missing);
      const mfaToken = request.body.mfa_token || undefined;
      try {
        const attempt = { login: username, password, mfaToken, family: 'ananta' } as const;
        const tokens = await login(deps, request, attempt);
        const data = { ...presentTokens(tokens), mfa_required: await isMfaOwner(deps, tokens) };
        return { status: 200, headers: noStore, body: success(data) };
      } catch (error) {
        // To clients of the family a second factor that is still to come is no error.
        if (!isProblem(error, 'mfa_required')) throw error;
        return { status: 200, headers: noStore, body: success({ mfa_required: true as const, username }) };
      }
    }),
    ...mountAll(anantaRefreshRoutes, async (request) => {
      const token = given(request.body.refresh_token, 'Missing refresh token');
      const tokens = await refresh(deps, request, token);
      return { status: 200, headers: noStore, body: success(presentTokens(tokens)) };
    }),
    ...mountAll(anantaMeRoutes, async (request) => {
      const { id, username, role } = await getOwnUser(deps, request);
      const owners = await findMfaOwners(deps, request, [id]);
      return { status: 200, body: success({ username, role, mfa_enabled: owners.has(id) }) };
    }),
    ...mountAll(anantaChangePasswordRoutes, async (request) => {
      const missing = 'Missing old or new password';
      await changePassword(deps, request, {
        oldPassword: given(request.body.old_password, missing),
        newPassword: given(request.body.new_password, missing),
        minLength: ANANTA_MIN_PASSWORD_LENGTH,
      });
      return { status: 200, body: success({ status: 'password_changed' as const }) };
    }),
  ];
}

const presentTokens = ({ accessToken, refreshToken, user }: IssuedTokens): AnantaTokens => ({
  access_token: accessToken,
  refresh_token: refreshToken,
  username: user.username,
  role: user.role,
});
