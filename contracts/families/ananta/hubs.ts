/** Agents that are asked at an address of their own, and tasks that one installation hands to another. */
import { z } from 'zod';
import { MAX_GOAL_LENGTH, taskIdSchema } from '../../tasks.ts';
import { anantaSuccess } from '../ananta.ts';
import { onPaths } from './paths.ts';
import { MAX_AGENT_REF_LENGTH, MAX_FOREIGN_TOKEN_LENGTH, MAX_PRIORITY_LENGTH } from './tasks.ts';

/** Longest name and role of an agent, characters. */
const MAX_NAME_LENGTH = 255;
/** Longest output of a report, characters. */
const MAX_OUTPUT_LENGTH = 512 * 1024;

const tokenField = z.string().max(MAX_FOREIGN_TOKEN_LENGTH);
const params = z.object({ taskId: taskIdSchema });

export const anantaRegisterRoutes = onPaths(
  {
    family: 'ananta',
    tags: ['ananta agents'],
    auth: 'public',
    rateClass: 'agent_registration',
    method: 'POST',
    path: '/register',
    summary: 'Register an agent that is asked at an address of its own',
    description:
      'With an enrolment token or the shared agent token as `registration_token`, or as somebody who may register agents. ' +
      'It is looked for at `{url}/health`, then at the address itself; AGENT_URL_ALLOW has to list it. Registering again ' +
      'says that it is still there; not heard of for 300 s and not found, it is offline. Who comes with an enrolment ' +
      'token is given an `agent_token` once, to register again with.',
    body: z.object({
      name: z.string().trim().min(1).max(MAX_NAME_LENGTH),
      url: z.url({ protocol: /^https?$/ }).max(MAX_AGENT_REF_LENGTH),
      role: z.string().trim().min(1).max(MAX_NAME_LENGTH).default('worker'),
      token: tokenField.nullish().meta({ description: 'What it wants to be asked with; kept sealed' }),
      registration_token: tokenField.nullish(),
    }),
    replies: {
      200: anantaSuccess(
        z.object({
          status: z.literal('registered'),
          agent_id: z.string(),
          agent_token: z.string().optional(),
        }),
      ),
    },
    errors: [
      'enrolment_token_invalid',
      'invalid_token',
      'forbidden',
      'agent_url_unreachable',
      'agent_exists',
      'agent_revoked',
    ],
  },
  '/api/system/register',
);

export const anantaListAgentsRoutes = onPaths(
  {
    family: 'ananta',
    tags: ['ananta agents'],
    auth: 'user',
    rateClass: 'read',
    verb: 'list',
    resource: 'agent',
    method: 'GET',
    path: '/agents',
    summary: 'List agents',
    description: 'Those with an address by that, the others by their id.',
    replies: {
      200: anantaSuccess(
        z.array(
          z
            .object({
              url: z.string(),
              name: z.string(),
              role: z.string(),
              token: z.string().nullable().meta({ description: 'Never the token itself' }),
              last_seen: z.number().nullable(),
              status: z.enum(['online', 'offline']),
              agent_id: z.string(),
            })
            .meta({ id: 'AnantaAgent' }),
        ),
      ),
    },
  },
  '/api/system/agents',
);

export const anantaDelegateRoutes = onPaths(
  {
    family: 'ananta',
    tags: ['ananta tasks'],
    auth: 'user',
    rateClass: 'write',
    verb: 'assign',
    resource: 'task',
    method: 'POST',
    path: '/tasks/{taskId}/delegate',
    summary: 'Hand a part of a task to an agent with an address',
    description:
      'The part is a task here and, under the same id, there. How it is doing is reported back; an address that is new ' +
      'is registered, where AGENT_URL_ALLOW lists it.',
    takesIdempotencyKey: true,
    params,
    body: z.object({
      agent_url: z.string().trim().min(1).max(MAX_AGENT_REF_LENGTH),
      agent_token: tokenField.nullish(),
      subtask_description: z.string().trim().min(1).max(MAX_GOAL_LENGTH),
      priority: z.string().trim().min(1).max(MAX_PRIORITY_LENGTH).default('Medium'),
    }),
    replies: {
      200: anantaSuccess(
        z.object({
          status: z.literal('delegated'),
          subtask_id: z.string(),
          agent_url: z.string(),
          response: z.unknown(),
        }),
      ),
    },
    errors: [
      'parent_task_not_found',
      'task_not_open',
      'agent_not_found',
      'agent_revoked',
      'agent_url_unreachable',
      'conflict',
      'idempotency_conflict',
      'service_unavailable',
      'delegation_failed',
    ],
  },
  '/api/tasks/{taskId}/delegate',
);

export const anantaSubtaskCallbackRoutes = onPaths(
  {
    family: 'ananta',
    tags: ['ananta tasks'],
    auth: 'any',
    rateClass: 'write',
    verb: 'report',
    resource: 'task',
    method: 'POST',
    path: '/tasks/{taskId}/subtask-callback',
    summary: 'Report how a part is doing that was handed on',
    description: 'With the token that the part was handed over with, or as somebody who may report on tasks.',
    params,
    body: z.object({
      id: taskIdSchema,
      status: z.string().max(64),
      last_output: z.string().max(MAX_OUTPUT_LENGTH).nullish(),
      last_exit_code: z.int().min(-2_147_483_648).max(4_294_967_295).nullish(),
    }),
    replies: { 200: anantaSuccess(z.object({ status: z.literal('updated') })) },
    errors: ['invalid_payload', 'subtask_not_found', 'command_running', 'task_not_open', 'conflict'],
    errorTexts: { validation_failed: { status: 400, code: 'invalid_payload' } },
  },
  '/api/tasks/{taskId}/subtask-callback',
);
