import { problem } from '../../../contracts/errors.ts';
import {
  anantaCreateUserRoutes,
  anantaDeleteUserRoutes,
  anantaListUsersRoutes,
  anantaResetPasswordRoutes,
  anantaSetRoleRoutes,
} from '../../../contracts/families/ananta/users.ts';
import { userRoles } from '../../../contracts/users.ts';
import type { Actor } from '../../../domain/deps.ts';
import { requestKeyOf } from '../../../domain/idempotency.ts';
import { resetPassword } from '../../../domain/identity/change-password.ts';
import type { IdentityDeps } from '../../../domain/identity/deps.ts';
import { findMfaOwners } from '../../../domain/identity/mfa-owners.ts';
import type { IssuedTokens } from '../../../domain/identity/tokens.ts';
import {
  createUser,
  deleteUser,
  findUserByName,
  listUsers,
  setRole,
} from '../../../domain/identity/users.ts';
import type { MountedRoute } from '../../mount.ts';
import { mountAll } from '../mount-all.ts';
import { given, success } from './envelope.ts';

/** `/users`, and the same under `/api/auth` and `/api/admin`. */
export function anantaUserRoutes(deps: IdentityDeps): MountedRoute[] {
  return [
    ...mountAll(anantaListUsersRoutes, async (request) => {
      const users = await listAll(deps, request);
      const owners = await findMfaOwners(
        deps,
        request,
        users.map(({ id }) => id),
      );
      const data = users.map(({ id, username, role }) => ({ username, role, mfa_enabled: owners.has(id) }));
      return { status: 200, body: success(data) };
    }),
    ...mountAll(anantaCreateUserRoutes, async (request) => {
      const missing = 'Missing username or password';
      const account = {
        username: given(request.body.username, missing),
        password: given(request.body.password, missing),
        role: roleOf(request.body.role ?? 'user'),
      };
      const { username } = await createUser(deps, request, account, requestKeyOf(request, account));
      return { status: 200, body: success({ status: 'user_created' as const, username }) };
    }),
    ...mountAll(anantaDeleteUserRoutes, async (request) => {
      const { id } = await getByName(deps, request, request.params.username);
      await deleteUser(deps, request, id);
      return { status: 200, body: success({ status: 'user_deleted' as const }) };
    }),
    ...mountAll(anantaResetPasswordRoutes, async (request) => {
      const newPassword = given(request.body.new_password, 'Missing new_password');
      const { id } = await getByName(deps, request, request.params.username);
      await resetPassword(deps, request, id, newPassword);
      return { status: 200, body: success({ status: 'password_reset' as const }) };
    }),
    ...mountAll(anantaSetRoleRoutes, async (request) => {
      const role = roleOf(given(request.body.role, 'Missing role'));
      const { id, username } = await getByName(deps, request, request.params.username);
      await setRole(deps, request, id, role);
      return { status: 200, body: success({ status: 'role_updated' as const, username, role }) };
    }),
  ];
}

/** @throws invalid_request */
function roleOf(text: string): (typeof userRoles)[number] {
  const role = userRoles.find((each) => each === text);
  if (role === undefined) throw problem('invalid_request', { reason: 'Invalid role' });
  return role;
}

type Account = IssuedTokens['user'];

/** @throws forbidden, user_not_found */
async function getByName(deps: IdentityDeps, actor: Actor, username: string): Promise<Account> {
  const user = await findUserByName(deps, actor, username);
  if (!user) throw problem('user_not_found', { userId: username });
  return user;
}

/** Users of one page of the list. */
const PAGE_SIZE = 200;

/** Clients of the family know no pages. */
async function listAll(deps: IdentityDeps, actor: Actor): Promise<Account[]> {
  const users: Account[] = [];
  let cursor: string | undefined;
  do {
    const page = await listUsers(deps, actor, { limit: PAGE_SIZE, cursor });
    users.push(...page.items);
    cursor = page.nextCursor ?? undefined;
  } while (cursor !== undefined);
  return users;
}
