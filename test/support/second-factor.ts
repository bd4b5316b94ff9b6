/** An authenticator app, and accounts whose failures and addresses no other test shares. */
import { Secret, TOTP } from 'otpauth';
import { v7 as newId } from 'uuid';
import { insertUser, type UserRole } from '../../db/users.ts';
import { canonicalName } from '../../domain/identity/canonical-name.ts';
import type { IdentityStack } from './identity.ts';

export const userPassword = 'Correct-Horse-8';

const PERIOD_MS = 30_000;

/** The token that the app shows, `steps` later than now. */
export function totpToken(secret: string, steps = 0): string {
  const timestamp = Date.now() + steps * PERIOD_MS;
  return new TOTP({ secret: Secret.fromBase32(secret), algorithm: 'SHA1', digits: 6, period: 30 }).generate({
    timestamp,
  });
}

/** Six digits that the app shows neither now nor in the steps around. */
export function wrongTotpToken(secret: string): string {
  const good = [-2, -1, 0, 1, 2].map((steps) => totpToken(secret, steps));
  for (let guess = 0; ; guess++) {
    const token = String(guess).padStart(6, '0');
    if (!good.includes(token)) return token;
  }
}

let made = 0;

/** An address of its own for each call (198.18.0.0/15, RFC 2544). */
export function freshAddress(): string {
  made += 1;
  return `198.18.${made >> 8}.${made & 0xff}`;
}

/** An account with `userPassword`. */
export async function addAccount(
  stack: Pick<IdentityStack, 'db' | 'deps'>,
  username: string,
  { role = 'user', email = null }: { role?: UserRole; email?: string | null } = {},
): Promise<string> {
  const id = newId();
  await insertUser(stack.db, {
    id,
    username,
    canonicalName: canonicalName(username),
    email,
    canonicalEmail: email === null ? null : canonicalName(email),
    role,
    passwordHash: await stack.deps.passwords.hash(userPassword),
    mustChangePassword: false,
  });
  return id;
}
