/** Routes of accounts: their administration, registration, and one's own account. */
import { z } from 'zod';
import { tokensSchema, userSchema } from './auth.ts';
import { defineRoute, empty } from './route.ts';
import { pageOf } from './shared.ts';
import {
  changePasswordBodySchema,
  createUserBodySchema,
  registerBodySchema,
  resetPasswordBodySchema,
  resetPasswordReplySchema,
  sessionSchema,
  setRoleBodySchema,
  updateMeBodySchema,
  updateUserBodySchema,
  userListQuerySchema,
} from './users.ts';

const house = { family: 'house', auth: 'user' } as const;
const users = { ...house, tags: ['users'], resource: 'user' } as const;
const own = { ...house, tags: ['auth'] } as const;
const userParams = z.object({ userId: z.uuid() });

export const listUsersRoute = defineRoute({
  ...users,
  method: 'GET',
  path: '/v1/users',
  summary: 'List accounts, newest first',
  rateClass: 'read',
  verb: 'list',
  query: userListQuerySchema,
  replies: { 200: pageOf(userSchema) },
  errors: ['invalid_cursor'],
});

export const createUserRoute = defineRoute({
  ...users,
  method: 'POST',
  path: '/v1/users',
  summary: 'Create an account',
  takesIdempotencyKey: true,
  rateClass: 'write',
  verb: 'create',
  body: createUserBodySchema,
  replies: { 201: userSchema },
  errors: ['user_exists', 'email_exists', 'password_refused', 'idempotency_conflict'],
});

export const getUserRoute = defineRoute({
  ...users,
  method: 'GET',
  path: '/v1/users/{userId}',
  summary: 'Read an account',
  rateClass: 'read',
  verb: 'read',
  params: userParams,
  replies: { 200: userSchema },
  errors: ['user_not_found'],
});

export const updateUserRoute = defineRoute({
  ...users,
  method: 'PATCH',
  path: '/v1/users/{userId}',
  summary: 'Change, disable or enable an account',
  description: 'Disabling ends its sessions at once. The last active administrator cannot be disabled.',
  rateClass: 'write',
  verb: 'update',
  params: userParams,
  body: updateUserBodySchema,
  replies: { 200: userSchema },
  errors: ['user_not_found', 'email_exists', 'conflict'],
});

export const deleteUserRoute = defineRoute({
  ...users,
  method: 'DELETE',
  path: '/v1/users/{userId}',
  summary: 'Delete an account',
  description: 'With its sessions. What it did stays in the audit trail, its tasks stay as they are.',
  rateClass: 'write',
  verb: 'delete',
  params: userParams,
  replies: { 204: empty() },
  errors: ['user_not_found', 'conflict'],
});

export const setRoleRoute = defineRoute({
  ...users,
  method: 'PUT',
  path: '/v1/users/{userId}/role',
  summary: 'Give an account another role',
  description: 'Ends its sessions. The last active administrator stays one.',
  rateClass: 'write',
  verb: 'update',
  params: userParams,
  body: setRoleBodySchema,
  replies: { 200: userSchema },
  errors: ['user_not_found', 'conflict'],
});

export const resetPasswordRoute = defineRoute({
  ...users,
  method: 'POST',
  path: '/v1/users/{userId}/reset-password',
  summary: 'Replace the password of an account',
  description: 'Ends its sessions. At the next login it can do nothing before the password is changed again.',
  takesIdempotencyKey: true,
  rateClass: 'write',
  verb: 'update',
  params: userParams,
  body: resetPasswordBodySchema,
  replies: { 200: resetPasswordReplySchema },
  errors: ['user_not_found', 'password_refused', 'conflict', 'idempotency_conflict'],
});

export const endUserSessionsRoute = defineRoute({
  ...users,
  method: 'DELETE',
  path: '/v1/users/{userId}/sessions',
  summary: 'End all sessions of an account',
  description:
    'Its access and refresh tokens stop working at once, its open sockets and streams within 5 seconds. API tokens stay.',
  rateClass: 'write',
  verb: 'update',
  params: userParams,
  replies: { 200: z.object({ ended: z.int() }) },
  errors: ['user_not_found'],
});

export const registerRoute = defineRoute({
  family: 'house',
  tags: ['auth'],
  method: 'POST',
  path: '/v1/auth/register',
  summary: 'Create an account for oneself',
  description: 'Where REGISTRATION is open. The role is always `user`.',
  rateClass: 'account_registration',
  auth: 'public',
  body: registerBodySchema,
  replies: { 201: tokensSchema },
  errors: [
    'registration_closed',
    'address_banned',
    'user_exists',
    'email_exists',
    'password_refused',
    'service_unavailable',
  ],
});

export const updateMeRoute = defineRoute({
  ...own,
  method: 'PATCH',
  path: '/v1/auth/me',
  summary: 'Change my name and picture',
  rateClass: 'write',
  verb: 'update',
  resource: 'profile',
  body: updateMeBodySchema,
  replies: { 200: userSchema },
  errors: ['user_not_found'],
});

export const changePasswordRoute = defineRoute({
  ...own,
  method: 'POST',
  path: '/v1/auth/password',
  summary: 'Change my password',
  description: 'Ends all other sessions. Wrong old passwords count like failed logins.',
  rateClass: 'login',
  verb: 'update',
  resource: 'password',
  body: changePasswordBodySchema,
  replies: { 204: empty() },
  errors: [
    'invalid_credentials',
    'account_locked',
    'address_banned',
    'password_refused',
    'conflict',
    'user_not_found',
  ],
});

export const listSessionsRoute = defineRoute({
  ...own,
  method: 'GET',
  path: '/v1/auth/sessions',
  summary: 'List my sessions, newest first',
  rateClass: 'read',
  verb: 'list',
  resource: 'session',
  replies: { 200: z.object({ items: z.array(sessionSchema) }) },
});

export const endSessionRoute = defineRoute({
  ...own,
  method: 'DELETE',
  path: '/v1/auth/sessions/{sessionId}',
  summary: 'End one of my sessions',
  rateClass: 'write',
  verb: 'delete',
  resource: 'session',
  params: z.object({ sessionId: z.uuid() }),
  replies: { 204: empty() },
  errors: ['session_not_found'],
});

export const endOtherSessionsRoute = defineRoute({
  ...own,
  method: 'DELETE',
  path: '/v1/auth/sessions',
  summary: 'End all my other sessions',
  rateClass: 'write',
  verb: 'delete',
  resource: 'session',
  replies: { 200: z.object({ ended: z.int() }) },
});
