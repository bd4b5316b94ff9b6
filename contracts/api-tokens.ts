/** Personal API tokens: for programs that act for a person, with less than all of that person's rights. */
import { z } from 'zod';
import { defineRoute, empty, json } from './route.ts';
import { apiTokenScopes } from './scopes.ts';
import { pageOf, pageQuery, timeSchema } from './shared.ts';

export const MAX_TOKEN_NAME_LENGTH = 100;
/** Longest life of a token and what it gets unless asked otherwise, days. */
export const MAX_TOKEN_DAYS = 365;
export const DEFAULT_TOKEN_DAYS = 90;
/** Tokens one person may hold. */
export const MAX_TOKENS_OF_USER = 50;

export const apiTokenSchema = z
  .object({
    id: z.uuid(),
    name: z.string(),
    tokenPrefix: z.string().meta({ description: 'First characters of the token, to recognise it by' }),
    scopes: z.array(z.enum(apiTokenScopes)),
    createdAt: timeSchema,
    expiresAt: timeSchema,
    lastUsedAt: timeSchema.nullable().meta({ description: 'To the minute' }),
  })
  .meta({ id: 'ApiToken' });
export type ApiTokenView = z.infer<typeof apiTokenSchema>;

export const createdApiTokenSchema = apiTokenSchema
  .extend({ token: z.string().meta({ description: 'The token itself: shown here and never again' }) })
  .meta({ id: 'CreatedApiToken' });

export const createApiTokenBodySchema = z.strictObject({
  name: z.string().trim().min(1).max(MAX_TOKEN_NAME_LENGTH),
  scopes: z
    .array(z.enum(apiTokenScopes))
    .min(1)
    .max(apiTokenScopes.length)
    .meta({ description: 'What the token may do, of what you may' }),
  expiresInDays: z.int().min(1).max(MAX_TOKEN_DAYS).default(DEFAULT_TOKEN_DAYS),
});
export type ApiTokenWish = z.output<typeof createApiTokenBodySchema>;

const shared = { family: 'house', tags: ['auth'], auth: 'user', resource: 'api_token' } as const;

export const listApiTokensRoute = defineRoute({
  ...shared,
  method: 'GET',
  path: '/v1/auth/tokens',
  summary: 'List your API tokens, newest first',
  description: 'Without those revoked, with those expired. The tokens themselves are never shown again.',
  rateClass: 'read',
  verb: 'list',
  query: z.strictObject(pageQuery),
  replies: { 200: pageOf(apiTokenSchema) },
  errors: ['invalid_cursor'],
});

export const createApiTokenRoute = defineRoute({
  ...shared,
  method: 'POST',
  path: '/v1/auth/tokens',
  summary: 'Make an API token',
  description:
    'For programs: send it as `Authorization: Bearer` or `X-API-Key`. It holds those of your rights that its scopes ' +
    'name, as your role is at each use, until it expires, is revoked, or your account is disabled. No token manages ' +
    'tokens, sessions, passwords, second factors or accounts.',
  takesIdempotencyKey: true,
  rateClass: 'write',
  verb: 'create',
  body: createApiTokenBodySchema,
  replies: { 201: json(createdApiTokenSchema) },
  errors: ['conflict', 'idempotency_conflict'],
});

export const revokeApiTokenRoute = defineRoute({
  ...shared,
  method: 'DELETE',
  path: '/v1/auth/tokens/{tokenId}',
  summary: 'Revoke one of your API tokens',
  description: 'It stops working at once, streams and sockets opened with it end within 5 seconds.',
  rateClass: 'write',
  verb: 'delete',
  params: z.object({ tokenId: z.uuid() }),
  replies: { 204: empty() },
  errors: ['not_found'],
});
