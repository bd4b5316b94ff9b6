import { noStore } from '../../../contracts/auth.ts';
import {
  changePasswordRoute,
  createUserRoute,
  deleteUserRoute,
  endOtherSessionsRoute,
  endSessionRoute,
  endUserSessionsRoute,
  getUserRoute,
  listSessionsRoute,
  listUsersRoute,
  registerRoute,
  resetPasswordRoute,
  setRoleRoute,
  updateMeRoute,
  updateUserRoute,
} from '../../../contracts/user-routes.ts';
import { requestKeyOf } from '../../../domain/idempotency.ts';
import { changePassword, resetPassword } from '../../../domain/identity/change-password.ts';
import type { IdentityDeps } from '../../../domain/identity/deps.ts';
import { updateOwnProfile } from '../../../domain/identity/own-account.ts';
import { presentSession, presentTokens, presentUser } from '../../../domain/identity/present-user.ts';
import { registerUser } from '../../../domain/identity/register.ts';
import {
  endOtherSessions,
  endOwnSession,
  endUserSessions,
  listOwnSessions,
} from '../../../domain/identity/sessions.ts';
import {
  createUser,
  deleteUser,
  getUser,
  listUsers,
  setRole,
  updateUser,
} from '../../../domain/identity/users.ts';
import { type MountedRoute, mount } from '../../mount.ts';

/** `/v1/users`, and one's own account under `/v1/auth`. */
export function userRoutes(deps: IdentityDeps): MountedRoute[] {
  return [...administration(deps), ...ownAccount(deps)];
}

function administration(deps: IdentityDeps): MountedRoute[] {
  return [
    mount(listUsersRoute, async (request) => {
      const { role, isActive } = request.query;
      const { items, nextCursor } = await listUsers(deps, request, request.query, {
        ...(role !== undefined && { role }),
        ...(isActive !== undefined && { isActive: isActive === 'true' }),
      });
      return { status: 200, body: { items: items.map(presentUser), nextCursor } };
    }),
    mount(createUserRoute, async (request) => {
      const user = await createUser(deps, request, request.body, requestKeyOf(request, request.body));
      return { status: 201, body: presentUser(user) };
    }),
    mount(getUserRoute, async (request) => {
      return { status: 200, body: presentUser(await getUser(deps, request, request.params.userId)) };
    }),
    mount(updateUserRoute, async (request) => {
      const user = await updateUser(deps, request, request.params.userId, request.body);
      return { status: 200, body: presentUser(user) };
    }),
    mount(deleteUserRoute, async (request) => {
      await deleteUser(deps, request, request.params.userId);
      return { status: 204 };
    }),
    mount(setRoleRoute, async (request) => {
      const user = await setRole(deps, request, request.params.userId, request.body.role);
      return { status: 200, body: presentUser(user) };
    }),
    mount(endUserSessionsRoute, async (request) => {
      return { status: 200, body: { ended: await endUserSessions(deps, request, request.params.userId) } };
    }),
    mount(resetPasswordRoute, async (request) => {
      const { newPassword, revokeTokens } = request.body;
      const { userId } = request.params;
      const requestKey = requestKeyOf(request, { userId });
      const body = await resetPassword(deps, request, userId, newPassword, requestKey, { revokeTokens });
      return { status: 200, headers: noStore, body };
    }),
  ];
}

function ownAccount(deps: IdentityDeps): MountedRoute[] {
  return [
    mount(registerRoute, async (request) => {
      const tokens = await registerUser(deps, request, { ...request.body, family: 'house' });
      return { status: 201, headers: noStore, body: presentTokens(tokens) };
    }),
    mount(updateMeRoute, async (request) => {
      return { status: 200, body: presentUser(await updateOwnProfile(deps, request, request.body)) };
    }),
    mount(changePasswordRoute, async (request) => {
      await changePassword(deps, request, request.body);
      return { status: 204 };
    }),
    mount(listSessionsRoute, async (request) => {
      const sessions = await listOwnSessions(deps, request);
      return { status: 200, body: { items: sessions.map(presentSession) } };
    }),
    mount(endSessionRoute, async (request) => {
      await endOwnSession(deps, request, request.params.sessionId);
      return { status: 204 };
    }),
    mount(endOtherSessionsRoute, async (request) => {
      return { status: 200, body: { ended: await endOtherSessions(deps, request) } };
    }),
  ];
}
