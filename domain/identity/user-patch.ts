import type { UserPatch, UserRow } from '../../db/users.ts';

/** The members of `wish` that are given and would change something. */
export function patchOf(
  user: UserRow,
  wish: { [Name in keyof UserPatch]?: UserPatch[Name] | undefined },
): UserPatch {
  const isNew = ([name, value]: [string, unknown]): boolean =>
    value !== undefined &&
    (name === 'canonicalEmail' ? wish.email !== user.email : user[name as keyof UserRow] !== value);
  return Object.fromEntries(Object.entries(wish).filter(isNew)) as UserPatch;
}
