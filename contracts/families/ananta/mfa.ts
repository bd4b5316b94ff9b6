/** The second factor as clients of ananta know it. */
import { z } from 'zod';
import { anantaSuccess } from '../ananta.ts';
import { anantaText, anantaTexts } from './auth.ts';
import { onPaths } from './paths.ts';

const shared = {
  family: 'ananta',
  tags: ['ananta auth'],
  auth: 'user',
  method: 'POST',
  rateClass: 'write',
  verb: 'update',
  resource: 'mfa',
} as const;

export const anantaMfaSetupRoutes = onPaths(
  {
    ...shared,
    path: '/mfa/setup',
    summary: 'Begin to set up a second factor',
    description: 'Nothing is asked for at a login before a token has been verified.',
    replies: {
      200: anantaSuccess(
        z.object({
          secret: z.string().meta({ description: 'Base32, for typing into an authenticator' }),
          qr_code: z.string().meta({ description: 'The same as a picture: a data URL' }),
        }),
      ),
    },
    errors: ['conflict', 'user_not_found'],
    errorTexts: { conflict: { status: 400, message: 'MFA is already enabled. Disable it first.' } },
  },
  '/api/auth/mfa/setup',
);

export const anantaMfaVerifyRoutes = onPaths(
  {
    ...shared,
    path: '/mfa/verify',
    summary: 'Turn the second factor on',
    description: 'Every other session of the user ends. The backup codes are shown here and never again.',
    body: z.strictObject({ token: anantaText(64) }),
    replies: {
      200: anantaSuccess(
        z.object({
          status: z.literal('mfa_enabled'),
          access_token: z.string(),
          backup_codes: z.array(z.string()).meta({ description: 'Ten; each is good for one login' }),
        }),
      ),
    },
    errors: [
      'invalid_request',
      'mfa_token_invalid',
      'conflict',
      'account_locked',
      'address_banned',
      'user_not_found',
    ],
    errorTexts: {
      rate_limited: { message: 'Too many attempts. Please try again later.' },
      address_banned: { message: 'Too many attempts. Please try again later.' },
      mfa_token_invalid: { status: 400, message: 'Invalid token' },
      conflict: { status: 400, message: '{reason}' },
    },
  },
  '/api/auth/mfa/verify',
);

export const anantaMfaDisableRoutes = onPaths(
  {
    ...shared,
    path: '/mfa/disable',
    summary: 'Turn the second factor off',
    description:
      'Asks for a token of the second factor or for the password. Every other session of the user ends.',
    body: z.strictObject({ token: anantaText(64), password: anantaText(1024) }).default({}),
    replies: {
      200: anantaSuccess(z.object({ status: z.literal('mfa_disabled'), access_token: z.string() })),
    },
    errors: [
      'invalid_request',
      'invalid_credentials',
      'mfa_token_invalid',
      'conflict',
      'account_locked',
      'address_banned',
      'user_not_found',
      'service_unavailable',
    ],
    errorTexts: {
      rate_limited: anantaTexts.tooManyAttempts,
      address_banned: anantaTexts.tooManyAttempts,
      invalid_credentials: { message: 'Invalid password' },
      mfa_token_invalid: { status: 400, message: 'Invalid token' },
      conflict: { status: 400, message: 'MFA not set up' },
    },
  },
  '/api/auth/mfa/disable',
);
