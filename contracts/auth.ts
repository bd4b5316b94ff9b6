/** Login, refresh, logout, me: what the house API says about identity. */
import { z } from 'zod';
import { mfaTokenSchema } from './mfa.ts';
import { roles } from './principal.ts';
import { defineRoute, empty } from './route.ts';
import { timeSchema } from './shared.ts';

export const userSchema = z
  .object({
    id: z.uuid(),
    username: z.string(),
    email: z.string().nullable(),
    displayName: z.string().nullable(),
    avatarUrl: z.string().nullable(),
    role: z.enum(roles),
    isActive: z.boolean(),
    mustChangePassword: z.boolean(),
    lastLoginAt: timeSchema.nullable(),
    createdAt: timeSchema,
    updatedAt: timeSchema,
  })
  .meta({ id: 'User' });
export type UserView = z.infer<typeof userSchema>;

export const loginBodySchema = z.strictObject({
  username: z.string().min(1).max(255).meta({ description: 'User name or e-mail address' }),
  password: z.string().min(1).max(1024),
  mfaToken: mfaTokenSchema.optional(),
});

export const refreshBodySchema = z.strictObject({ refreshToken: z.string().min(1).max(1024) });

export const tokensSchema = z
  .object({
    accessToken: z.string(),
    refreshToken: z
      .string()
      .meta({ description: 'Good for one refresh; the reply to it holds the next one' }),
    tokenType: z.literal('Bearer'),
    expiresIn: z.int().meta({ description: 'Life of the access token, seconds' }),
    user: userSchema,
  })
  .meta({ id: 'Tokens' });
export type TokensView = z.infer<typeof tokensSchema>;

const shared = { family: 'house', tags: ['auth'] } as const;

/** What a login is refused with, in whichever dialect. */
export const loginErrors = [
  'invalid_credentials',
  'mfa_required',
  'mfa_token_invalid',
  'account_disabled',
  'account_locked',
  'address_banned',
  'service_unavailable',
] as const;

export const loginRoute = defineRoute({
  ...shared,
  method: 'POST',
  path: '/v1/auth/login',
  summary: 'Log in',
  description:
    'Opens a session. The answer is the same for an unknown name and a wrong password. Failures lock the account for a while and slow down, then ban, the address.',
  rateClass: 'login',
  auth: 'public',
  body: loginBodySchema,
  replies: { 200: tokensSchema },
  errors: ['rate_limited', ...loginErrors],
});

export const refreshRoute = defineRoute({
  ...shared,
  method: 'POST',
  path: '/v1/auth/refresh',
  summary: 'Trade a refresh token for new tokens',
  description:
    'Refresh tokens rotate. The same token again within 10 seconds answers the same successor; later it ends the session.',
  rateClass: 'refresh',
  auth: 'public',
  body: refreshBodySchema,
  replies: { 200: tokensSchema },
  errors: ['invalid_refresh_token', 'address_banned'],
});

export const logoutRoute = defineRoute({
  ...shared,
  method: 'POST',
  path: '/v1/auth/logout',
  summary: 'End the session',
  description: 'Its access and refresh tokens stop working at once, its open sockets within 5 seconds.',
  rateClass: 'logout',
  auth: 'user',
  verb: 'delete',
  resource: 'session',
  replies: { 204: empty() },
});

export const meRoute = defineRoute({
  ...shared,
  method: 'GET',
  path: '/v1/auth/me',
  summary: 'Who am I',
  rateClass: 'read',
  auth: 'user',
  verb: 'read',
  resource: 'session',
  replies: { 200: userSchema },
  errors: ['user_not_found'],
});

/** Headers of replies that hold a secret. */
export const noStore = { 'Cache-Control': 'no-store' } as const;
/** The same in a contract. */
export const noStoreReply = { headers: noStore } as const;
