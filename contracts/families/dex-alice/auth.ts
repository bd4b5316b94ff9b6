/** `/api/v1/auth`, shared by the clients of dex and of alice: every answer has the keys of both. */
import { z } from 'zod';
import { loginErrors, noStoreReply } from '../../auth.ts';
import { defineRoute, json } from '../../route.ts';
import { timeSchema } from '../../shared.ts';
import { displayNameSchema, emailSchema } from '../../users.ts';

/** Shortest and longest password that can be registered, characters; bytes are the policy's business. */
const MIN_PASSWORD_LENGTH = 8;
const MAX_PASSWORD_LENGTH = 100;
const MAX_DISPLAY_NAME_LENGTH = 100;

export const dexAliceUserSchema = z
  .object({
    id: z.uuid(),
    username: z.string(),
    email: z.string().nullable(),
    full_name: z.string().nullable(),
    display_name: z.string().meta({ description: 'The user name where no other is set' }),
    avatar_url: z.string().nullable(),
    is_active: z.boolean(),
    created_at: timeSchema,
    updated_at: timeSchema,
    last_login: timeSchema.nullable(),
  })
  .meta({ id: 'DexAliceUser' });
export type DexAliceUser = z.infer<typeof dexAliceUserSchema>;

const tokens = {
  access_token: z.string(),
  refresh_token: z.string().meta({ description: 'Good for one refresh; the reply to it holds the next one' }),
  token_type: z.literal('bearer'),
  expires_in: z.int().meta({ description: 'Life of the access token, seconds' }),
};

export const dexAliceTokensSchema = z.object(tokens).meta({ id: 'DexAliceTokens' });
export type DexAliceTokens = z.infer<typeof dexAliceTokensSchema>;

const loginReplySchema = z.object({ ...tokens, user: dexAliceUserSchema }).meta({ id: 'DexAliceLogin' });

const shared = { family: 'dex-alice', tags: ['dex and alice auth'] } as const;

/** What clients of alice read of a refused password; the sentences are those their tests look for. */
const registrationPasswordSchema = z
  .string()
  .min(MIN_PASSWORD_LENGTH)
  .max(MAX_PASSWORD_LENGTH)
  .refine((text) => /\p{Lu}/u.test(text), 'Password must contain at least one uppercase letter')
  .refine((text) => /\p{Nd}/u.test(text), 'Password must contain at least one number');

export const dexAliceRegisterRoute = defineRoute({
  ...shared,
  method: 'POST',
  path: '/api/v1/auth/register',
  summary: 'Register an account',
  description: 'Where REGISTRATION is open. The account has the role `user`; its user name is the address.',
  auth: 'public',
  rateClass: 'account_registration',
  body: z.strictObject({
    email: emailSchema,
    password: registrationPasswordSchema,
    display_name: displayNameSchema.max(MAX_DISPLAY_NAME_LENGTH),
  }),
  replies: { 201: json(dexAliceTokensSchema, noStoreReply) },
  errors: [
    'registration_closed',
    'email_exists',
    'user_exists',
    'password_refused',
    'address_banned',
    'service_unavailable',
  ],
  errorTexts: {
    email_exists: {
      code: 'EMAIL_ALREADY_EXISTS',
      message: "Email address '{email}' is already registered",
    },
    user_exists: {
      code: 'EMAIL_ALREADY_EXISTS',
      message: "Email address '{username}' is already registered",
    },
    password_refused: { code: 'VALIDATION_ERROR' },
  },
});

/** A name may come as either: clients of dex send `username`, those of alice `email`. */
const loginBodySchema = z
  .strictObject({
    username: z.string().min(1).max(255).optional(),
    email: z.string().min(1).max(255).optional(),
    password: z.string().min(1).max(1024),
    mfa_token: z.string().max(64).optional(),
  })
  .superRefine((body, context) => {
    if (body.username !== undefined || body.email !== undefined) return;
    context.addIssue({ code: 'invalid_type', expected: 'string', input: undefined, path: ['username'] });
  });

export const dexAliceLoginRoute = defineRoute({
  ...shared,
  method: 'POST',
  path: '/api/v1/auth/login',
  summary: 'Log in',
  description:
    'With `username` as clients of dex do (the access token lives 8 hours), or with `email` as those of alice do ' +
    '(15 minutes, and `sub` is the user id). Either may hold a user name or an address.',
  auth: 'public',
  rateClass: 'login',
  body: loginBodySchema,
  replies: { 200: json(loginReplySchema, noStoreReply) },
  errors: loginErrors,
});

export const dexAliceRefreshRoute = defineRoute({
  ...shared,
  method: 'POST',
  path: '/api/v1/auth/refresh',
  summary: 'Trade a refresh token for new tokens',
  auth: 'public',
  rateClass: 'refresh',
  body: z.strictObject({ refresh_token: z.string().min(1).max(1024) }),
  replies: { 200: json(dexAliceTokensSchema, noStoreReply) },
  errors: ['invalid_refresh_token', 'address_banned'],
});

export const dexAliceLogoutRoute = defineRoute({
  ...shared,
  method: 'POST',
  path: '/api/v1/auth/logout',
  summary: 'End the session',
  description:
    'A session that a client of alice opened takes all other sessions of the user with it; one of dex ends alone.',
  auth: 'user',
  verb: 'delete',
  resource: 'session',
  rateClass: 'logout',
  replies: { 200: z.object({ message: z.string() }).meta({ id: 'DexAliceLogout' }) },
});

export const dexAliceMeRoute = defineRoute({
  ...shared,
  method: 'GET',
  path: '/api/v1/auth/me',
  summary: 'Who am I',
  auth: 'user',
  verb: 'read',
  resource: 'session',
  rateClass: 'account',
  replies: { 200: dexAliceUserSchema },
  errors: ['user_not_found'],
});
