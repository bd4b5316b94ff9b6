/** Sessions as clients of steel know them. */
import { z } from 'zod';
import { loginErrors, noStoreReply } from '../../auth.ts';
import { defineRoute, json } from '../../route.ts';
import { userRoles } from '../../users.ts';
import { steelTimeSchema } from './time.ts';

export const steelTokensSchema = z
  .object({
    access_token: z.string(),
    token_type: z.literal('bearer'),
    expires_in: z.int().meta({ description: 'Life of the access token, seconds' }),
    refresh_token: z
      .string()
      .meta({ description: 'Good for one refresh; the reply to it holds the next one' }),
  })
  .meta({ id: 'SteelTokens' });
export type SteelTokens = z.infer<typeof steelTokensSchema>;

/** What a form of the OAuth password grant (RFC 6749 section 4.3.2) carries besides; nothing of it is needed. */
const passwordGrantFields = {
  grant_type: z.string().max(64).optional(),
  scope: z.string().max(1024).optional(),
  client_id: z.string().max(255).optional(),
  client_secret: z.string().max(1024).optional(),
};

const shared = { family: 'steel', tags: ['steel auth'] } as const;

export const steelLoginRoute = defineRoute({
  ...shared,
  method: 'POST',
  path: '/auth/login',
  summary: 'Log in',
  description: 'As JSON or as a form. The answer is the same for an unknown name and a wrong password.',
  auth: 'public',
  rateClass: 'write',
  bodyTypes: ['json', 'form'],
  body: z.strictObject({
    username: z.string().min(1).max(255),
    password: z.string().min(1).max(1024),
    mfa_token: z.string().max(64).optional(),
    ...passwordGrantFields,
  }),
  replies: { 200: json(steelTokensSchema, noStoreReply) },
  errors: loginErrors,
});

export const steelRefreshRoute = defineRoute({
  ...shared,
  method: 'POST',
  path: '/auth/refresh',
  summary: 'Trade a refresh token for new tokens',
  auth: 'public',
  rateClass: 'write',
  body: z.strictObject({ refresh_token: z.string().min(1).max(1024) }),
  replies: { 200: json(steelTokensSchema, noStoreReply) },
  errors: ['invalid_refresh_token', 'address_banned'],
});

export const steelUserRoute = defineRoute({
  ...shared,
  method: 'GET',
  path: '/auth/user',
  summary: 'Who am I',
  auth: 'user',
  verb: 'read',
  resource: 'session',
  rateClass: 'read',
  replies: {
    200: z
      .object({
        id: z.uuid(),
        username: z.string(),
        email: z.string().nullable(),
        role: z.enum(userRoles),
        active: z.boolean(),
        created_at: steelTimeSchema,
      })
      .meta({ id: 'SteelUser' }),
  },
  errors: ['user_not_found'],
});

export const steelLogoutRoute = defineRoute({
  ...shared,
  method: 'POST',
  path: '/auth/logout',
  summary: 'End the session',
  description: 'Its access and refresh tokens stop working at once, its open sockets within 5 seconds.',
  auth: 'user',
  verb: 'delete',
  resource: 'session',
  rateClass: 'write',
  replies: {
    200: z.object({ message: z.string(), token_revoked: z.boolean() }).meta({ id: 'SteelLogout' }),
  },
});
