/** The house routes of saved commands; the shapes are in `saved-commands.ts`. */
import { z } from 'zod';
import { defineRoute, empty, json } from './route.ts';
import {
  createSavedCommandBodySchema,
  executeSavedBodySchema,
  savedCommandPageSchema,
  savedCommandSchema,
  savedListQuerySchema,
  savedRevisionSchema,
  savedRunSchema,
  updateSavedCommandBodySchema,
} from './saved-commands.ts';
import { pageOf, pageQuery } from './shared.ts';

const shared = {
  family: 'house',
  tags: ['saved commands'],
  auth: 'user',
  resource: 'saved_command',
} as const;
const params = z.object({ savedCommandId: z.uuid() });

export const listSavedCommandsRoute = defineRoute({
  ...shared,
  method: 'GET',
  path: '/v1/saved-commands',
  summary: 'List saved commands, newest first',
  rateClass: 'read',
  verb: 'list',
  query: savedListQuerySchema,
  replies: { 200: savedCommandPageSchema },
  errors: ['invalid_cursor'],
});

export const createSavedCommandRoute = defineRoute({
  ...shared,
  method: 'POST',
  path: '/v1/saved-commands',
  summary: 'Save a command',
  takesIdempotencyKey: true,
  rateClass: 'write',
  verb: 'create',
  body: createSavedCommandBodySchema,
  replies: { 201: json(savedCommandSchema, { headers: { Location: 'Path of the saved command' } }) },
  errors: ['conflict', 'idempotency_conflict', 'saved_command_not_found'],
});

export const getSavedCommandRoute = defineRoute({
  ...shared,
  method: 'GET',
  path: '/v1/saved-commands/{savedCommandId}',
  summary: 'Read a saved command',
  rateClass: 'read',
  verb: 'read',
  params,
  replies: { 200: savedCommandSchema },
  errors: ['saved_command_not_found'],
});

export const updateSavedCommandRoute = defineRoute({
  ...shared,
  method: 'PATCH',
  path: '/v1/saved-commands/{savedCommandId}',
  summary: 'Change a saved command; the earlier revision stays readable',
  rateClass: 'write',
  verb: 'update',
  params,
  body: updateSavedCommandBodySchema,
  replies: { 200: savedCommandSchema },
  errors: ['saved_command_not_found', 'system_command_protected', 'conflict'],
});

export const deleteSavedCommandRoute = defineRoute({
  ...shared,
  method: 'DELETE',
  path: '/v1/saved-commands/{savedCommandId}',
  summary: 'Delete a saved command; what it has run stays',
  rateClass: 'write',
  verb: 'delete',
  params,
  replies: { 204: empty() },
  errors: ['saved_command_not_found', 'system_command_protected'],
});

export const listSavedRevisionsRoute = defineRoute({
  ...shared,
  method: 'GET',
  path: '/v1/saved-commands/{savedCommandId}/revisions',
  summary: 'List every revision of a saved command, newest first',
  rateClass: 'read',
  verb: 'read',
  params,
  query: z.strictObject(pageQuery),
  replies: { 200: pageOf(savedRevisionSchema) },
  errors: ['saved_command_not_found', 'invalid_cursor'],
});

export const restoreSavedRevisionRoute = defineRoute({
  ...shared,
  method: 'POST',
  path: '/v1/saved-commands/{savedCommandId}/revisions/{revision}/restore',
  summary: 'Make an earlier revision the present one, as a new revision',
  rateClass: 'write',
  verb: 'update',
  params: params.extend({ revision: z.coerce.number().int().min(1).max(2_147_483_647) }),
  replies: { 200: savedCommandSchema },
  errors: ['saved_command_not_found', 'system_command_protected', 'not_found'],
});

export const executeSavedCommandRoute = defineRoute({
  ...shared,
  method: 'POST',
  path: '/v1/saved-commands/{savedCommandId}/execute',
  summary: 'Run a saved command on one or many agents',
  description:
    'Also takes the right to run commands. Every agent gets the script for a shell it has; agents with the same shell ' +
    'are one batch. It waits for offline agents until `expiryMs`. Agents that cannot get it are in `refused`; when that ' +
    'are all, the first reason is the answer. The same Idempotency-Key with the same body is the same run, also when ' +
    'the saved command has changed since.',
  takesIdempotencyKey: true,
  rateClass: 'write',
  verb: 'execute',
  params,
  body: executeSavedBodySchema,
  replies: {
    201: savedRunSchema,
    200: json(savedRunSchema, { description: 'Made by an earlier request' }),
    202: json(savedRunSchema, { description: 'Not final within `waitMs`: the batches as they stand' }),
  },
  errors: [
    'saved_command_not_found',
    'agent_not_found',
    'agent_revoked',
    'agent_not_connected',
    'conflict',
    'idempotency_conflict',
    'not_found',
  ],
});
