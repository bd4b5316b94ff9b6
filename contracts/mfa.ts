/** The second factor of one's own account, as the house API speaks of it. */
import { z } from 'zod';
import { defineRoute, empty } from './route.ts';

/** A token of the authenticator (6 digits) or a backup code. */
export const mfaTokenSchema = z
  .string()
  .min(1)
  .max(64)
  .meta({ description: 'Six digits of the authenticator, or a backup code' });

export const mfaStatusSchema = z
  .object({
    isEnabled: z.boolean(),
    backupCodesLeft: z.int().meta({ description: 'Backup codes that are still good' }),
  })
  .meta({ id: 'MfaStatus' });

export const mfaSetupSchema = z
  .object({
    secret: z.string().meta({ description: 'Base32, for authenticators without a camera' }),
    otpauthUrl: z.string(),
    qrCode: z.string().meta({ description: 'The URL as a QR code: a PNG as data URL' }),
  })
  .meta({ id: 'MfaSetup' });

export const verifyMfaBodySchema = z.strictObject({ token: mfaTokenSchema });
export const backupCodesSchema = z
  .object({
    backupCodes: z.array(z.string()).meta({ description: 'Shown once; each is good for one login' }),
  })
  .meta({ id: 'BackupCodes' });

export const disableMfaBodySchema = z.strictObject({
  token: mfaTokenSchema.optional(),
  password: z.string().min(1).max(1024).optional(),
});

const shared = { family: 'house', tags: ['auth'], auth: 'user', resource: 'mfa' } as const;
const guessErrors = [
  'account_locked',
  'rate_limited',
  'address_banned',
  'mfa_token_invalid',
  'conflict',
] as const;

export const getMfaRoute = defineRoute({
  ...shared,
  method: 'GET',
  path: '/v1/auth/mfa',
  summary: 'Does my account have a second factor',
  rateClass: 'read',
  verb: 'read',
  replies: { 200: mfaStatusSchema },
});

export const setupMfaRoute = defineRoute({
  ...shared,
  method: 'POST',
  path: '/v1/auth/mfa/setup',
  summary: 'Make the secret of a second factor',
  description:
    'Logins ask for it once a token of it was sent to `verify`. Doing it again replaces the secret.',
  rateClass: 'write',
  verb: 'update',
  replies: { 200: mfaSetupSchema },
  errors: ['conflict'],
});

export const verifyMfaRoute = defineRoute({
  ...shared,
  method: 'POST',
  path: '/v1/auth/mfa/verify',
  summary: 'Put the second factor in force',
  description: 'Ends the other sessions of the account.',
  rateClass: 'write',
  verb: 'update',
  body: verifyMfaBodySchema,
  replies: { 200: backupCodesSchema },
  errors: guessErrors,
});

export const disableMfaRoute = defineRoute({
  ...shared,
  method: 'POST',
  path: '/v1/auth/mfa/disable',
  summary: 'Log in without a second factor',
  description: 'Takes a token, a backup code or the password. Ends the other sessions of the account.',
  rateClass: 'write',
  verb: 'update',
  body: disableMfaBodySchema,
  replies: { 204: empty() },
  errors: [...guessErrors, 'mfa_required', 'invalid_credentials'],
});

export const resetMfaRoute = defineRoute({
  ...shared,
  resource: 'user',
  tags: ['users'],
  method: 'DELETE',
  path: '/v1/users/{id}/mfa',
  summary: 'Take the second factor of another account away',
  description: 'For somebody who has lost it. Ends all sessions of the account.',
  rateClass: 'write',
  verb: 'update',
  params: z.object({ id: z.uuid() }),
  replies: { 204: empty() },
  errors: ['user_not_found', 'conflict'],
});
