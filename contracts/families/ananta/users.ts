/** Accounts as administrators among ananta's clients know them: addressed by name. */
import { z } from 'zod';
import { userRoles } from '../../users.ts';
import { anantaSuccess } from '../ananta.ts';
import { anantaText } from './auth.ts';
import { onPaths } from './paths.ts';

const shared = { family: 'ananta', tags: ['ananta users'], auth: 'user', resource: 'user' } as const;

const params = z.object({ username: z.string().min(1).max(255) });

const userNotFound = { user_not_found: { message: 'User not found' } } as const;

const anantaUserSchema = z
  .object({ username: z.string(), role: z.enum(userRoles), mfa_enabled: z.boolean() })
  .meta({ id: 'AnantaUser' });

export const anantaListUsersRoutes = onPaths(
  {
    ...shared,
    method: 'GET',
    path: '/users',
    summary: 'List the users',
    rateClass: 'read',
    verb: 'list',
    replies: { 200: anantaSuccess(z.array(anantaUserSchema)) },
  },
  '/api/auth/users',
  '/api/admin/users',
);

export const anantaCreateUserRoutes = onPaths(
  {
    ...shared,
    method: 'POST',
    path: '/users',
    summary: 'Create a user',
    takesIdempotencyKey: true,
    rateClass: 'write',
    verb: 'create',
    body: z.strictObject({
      username: anantaText(255),
      password: anantaText(1024),
      role: anantaText(32).meta({ description: 'viewer, user (the default), operator or admin' }),
    }),
    replies: {
      200: anantaSuccess(z.object({ status: z.literal('user_created'), username: z.string() })),
    },
    errors: [
      'invalid_request',
      'password_refused',
      'user_exists',
      'email_exists',
      'idempotency_conflict',
      'service_unavailable',
    ],
    errorTexts: { user_exists: { status: 400, message: 'User already exists' } },
  },
  '/api/auth/users',
  '/api/admin/users',
);

export const anantaDeleteUserRoutes = onPaths(
  {
    ...shared,
    method: 'DELETE',
    path: '/users/{username}',
    summary: 'Delete a user',
    rateClass: 'write',
    verb: 'delete',
    params,
    replies: { 200: anantaSuccess(z.object({ status: z.literal('user_deleted') })) },
    errors: ['user_not_found', 'conflict'],
    errorTexts: { ...userNotFound, conflict: { status: 400, message: 'Cannot delete main admin' } },
  },
  '/api/auth/users/{username}',
  '/api/admin/users/{username}',
);

export const anantaResetPasswordRoutes = onPaths(
  {
    ...shared,
    method: 'POST',
    path: '/users/{username}/reset-password',
    summary: 'Give a user a new password',
    description: 'Ends the sessions of the user, who has to choose another password after the next login.',
    rateClass: 'write',
    verb: 'update',
    params,
    body: z.strictObject({ new_password: anantaText(1024) }),
    replies: { 200: anantaSuccess(z.object({ status: z.literal('password_reset') })) },
    errors: ['invalid_request', 'password_refused', 'user_not_found', 'conflict', 'service_unavailable'],
    errorTexts: userNotFound,
  },
  '/api/auth/users/{username}/reset-password',
  '/api/admin/users/{username}/reset-password',
);

export const anantaSetRoleRoutes = onPaths(
  {
    ...shared,
    method: 'PUT',
    path: '/users/{username}/role',
    summary: 'Set the role of a user',
    description: 'Ends the sessions of the user when the role changes.',
    rateClass: 'write',
    verb: 'update',
    params,
    body: z.strictObject({ role: anantaText(32) }),
    replies: {
      200: anantaSuccess(
        z.object({ status: z.literal('role_updated'), username: z.string(), role: z.enum(userRoles) }),
      ),
    },
    errors: ['invalid_request', 'user_not_found', 'conflict'],
    errorTexts: { ...userNotFound, conflict: { message: '{reason}' } },
  },
  '/api/auth/users/{username}/role',
  '/api/admin/users/{username}/role',
);
