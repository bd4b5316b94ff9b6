/** Names and addresses of accounts: what may be one, and that nobody else has it. */
import type { z } from 'zod';
import { problem } from '../../contracts/errors.ts';
import { emailSchema, usernameSchema } from '../../contracts/users.ts';
import { findNamesakes } from '../../db/users.ts';
import type { Unit } from '../transact.ts';
import { canonicalName } from './canonical-name.ts';

/** As they are kept, and as they are found. */
export interface AccountNames {
  username: string;
  canonicalName: string;
  email: string | null;
  canonicalEmail: string | null;
}

/** @throws validation_failed for what cannot be a name or an address, in whichever dialect it came */
export function readAccountNames(username: string, email: string | null): AccountNames {
  const name = read(usernameSchema, 'username', username);
  return { username: name, canonicalName: canonicalName(name), ...readEmail(email) };
}

/** @throws validation_failed */
export function readEmail(email: string | null): Pick<AccountNames, 'email' | 'canonicalEmail'> {
  if (email === null) return { email: null, canonicalEmail: null };
  const address = read(emailSchema, 'email', email);
  return { email: address, canonicalEmail: canonicalName(address) };
}

function read(schema: z.ZodType<string>, member: string, text: string): string {
  const result = schema.safeParse(text);
  if (result.success) return result.data;
  throw invalidMember(member, result.error.issues[0]?.message ?? 'Invalid');
}

export const invalidMember = (member: string, message: string) =>
  problem(
    'validation_failed',
    {},
    { issues: [{ in: 'body', path: [member], message, type: 'value_error' }] },
  );

/**
 * No account but `exceptId` may go by these names, not even by the other kind: who logs in may send either. Asked under
 * the accounts lock.
 * @throws user_exists, email_exists
 */
export async function assertNamesFree(
  unit: Unit,
  names: Partial<AccountNames>,
  exceptId: string | null,
): Promise<void> {
  const { username, email } = names;
  const forms = [names.canonicalName, names.canonicalEmail].filter((form) => typeof form === 'string');
  if (forms.length === 0) return;
  const others = await findNamesakes(unit.trx, forms, exceptId);
  const isTaken = (form: string | null | undefined) =>
    typeof form === 'string' &&
    others.some((other) => other.canonicalName === form || other.canonicalEmail === form);
  // An account named by its address is told that the address is taken.
  const isNamedByAddress = names.canonicalName === names.canonicalEmail;
  if (username !== undefined && !isNamedByAddress && isTaken(names.canonicalName)) {
    throw problem('user_exists', { username });
  }
  if (typeof email === 'string' && isTaken(names.canonicalEmail)) throw problem('email_exists', { email });
}
