/** Sessions and the second factor as clients of ananta know them: at the root, and again under `/api/auth`. */
import { z } from 'zod';
import { userRoles } from '../../users.ts';
import { anantaSuccess } from '../ananta.ts';
import { onPaths } from './paths.ts';

/**
 * Clients of the family hear 400 and a sentence where a field is missing or empty, so the schema lets that pass and
 * the handler says it.
 */
export const anantaText = (maxLength: number) => z.string().max(maxLength).nullish();

/** Shortest password that a user of the family may choose, characters. */
export const ANANTA_MIN_PASSWORD_LENGTH = 12;

export const anantaTexts = {
  tooManyAttempts: { message: 'Too many login attempts. Please try again later.' },
  invalidRequest: { message: '{reason}' },
} as const;

const account = {
  username: z.string(),
  role: z.enum(userRoles),
};

export const anantaTokensSchema = z
  .object({
    access_token: z.string(),
    refresh_token: z
      .string()
      .meta({ description: 'Good for one refresh; the reply to it holds the next one' }),
    ...account,
  })
  .meta({ id: 'AnantaTokens' });
export type AnantaTokens = z.infer<typeof anantaTokensSchema>;

const loginSchema = z
  .object({ ...anantaTokensSchema.shape, mfa_required: z.boolean() })
  .meta({ id: 'AnantaLogin' });

const mfaPendingSchema = z
  .object({ mfa_required: z.literal(true), username: z.string() })
  .meta({ id: 'AnantaMfaPending' });

const profileSchema = z.object({ ...account, mfa_enabled: z.boolean() }).meta({ id: 'AnantaProfile' });

const open = { family: 'ananta', tags: ['ananta auth'], auth: 'public', rateClass: 'write' } as const;
const own = { family: 'ananta', tags: ['ananta auth'], auth: 'user' } as const;

export const anantaLoginRoutes = onPaths(
  {
    ...open,
    method: 'POST',
    path: '/login',
    summary: 'Log in',
    description:
      'A user with a second factor who sends none is answered 200 with `mfa_required: true` and no token, once the ' +
      'password is right; the same request with `mfa_token` then logs in.',
    body: z.strictObject({
      username: anantaText(255),
      password: anantaText(1024),
      mfa_token: anantaText(64),
    }),
    replies: { 200: anantaSuccess(z.union([loginSchema, mfaPendingSchema])) },
    errors: [
      'invalid_request',
      'invalid_credentials',
      'mfa_token_invalid',
      'account_disabled',
      'account_locked',
      'address_banned',
      'service_unavailable',
    ],
    errorTexts: {
      rate_limited: anantaTexts.tooManyAttempts,
      address_banned: anantaTexts.tooManyAttempts,
      mfa_token_invalid: { message: 'Invalid MFA token' },
    },
  },
  '/api/auth/login',
);

export const anantaRefreshRoutes = onPaths(
  {
    ...open,
    method: 'POST',
    path: '/refresh-token',
    summary: 'Trade a refresh token for new tokens',
    body: z.strictObject({ refresh_token: anantaText(1024) }),
    replies: { 200: anantaSuccess(anantaTokensSchema) },
    errors: ['invalid_request', 'invalid_refresh_token', 'address_banned'],
    errorTexts: {
      rate_limited: anantaTexts.tooManyAttempts,
      address_banned: anantaTexts.tooManyAttempts,
      invalid_refresh_token: { message: 'Invalid or expired refresh token' },
    },
  },
  '/api/auth/refresh-token',
);

export const anantaMeRoutes = onPaths(
  {
    ...own,
    method: 'GET',
    path: '/me',
    summary: 'Who am I',
    rateClass: 'read',
    verb: 'read',
    resource: 'session',
    replies: { 200: anantaSuccess(profileSchema) },
    errors: ['user_not_found'],
  },
  '/api/auth/me',
  '/api/profile',
);

export const anantaChangePasswordRoutes = onPaths(
  {
    ...own,
    method: 'POST',
    path: '/change-password',
    summary: 'Change the own password',
    description: `At least ${ANANTA_MIN_PASSWORD_LENGTH} characters. Every other session of the user ends.`,
    rateClass: 'write',
    verb: 'update',
    resource: 'password',
    body: z.strictObject({ old_password: anantaText(1024), new_password: anantaText(1024) }),
    replies: { 200: anantaSuccess(z.object({ status: z.literal('password_changed') })) },
    errors: [
      'invalid_request',
      'invalid_credentials',
      'password_refused',
      'conflict',
      'account_locked',
      'address_banned',
      'user_not_found',
      'service_unavailable',
    ],
    errorTexts: { invalid_credentials: { message: 'Invalid old password' } },
  },
  '/api/auth/change-password',
);
