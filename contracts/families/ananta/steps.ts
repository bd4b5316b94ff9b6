/** Proposing and executing steps as clients of ananta know it, for a task and without one. */
import { z } from 'zod';
import { commandStates } from '../../command-states.ts';
import type { ErrorCode } from '../../errors.ts';
import { anantaStatuses } from '../../states.ts';
import { MAX_GOAL_LENGTH, taskIdSchema } from '../../tasks.ts';
import { anantaSuccess } from '../ananta.ts';
import { onPaths } from './paths.ts';

/** Most names of models in one request. */
export const MAX_ANANTA_PROVIDERS = 5;
/** Most calls of tools that are read; how many may run is up to the guardrails. */
export const MAX_TOOL_CALLS = 50;
const DEFAULT_TIMEOUT_S = 60;
const MIN_TIMEOUT_S = 0.1;
export const MAX_RETRIES = 10;
/** Longest pause between two attempts, seconds. */
export const MAX_RETRY_DELAY_S = 300;
const MAX_MODEL_NAME_LENGTH = 200;

const shared = { family: 'ananta', tags: ['ananta steps'], auth: 'user', rateClass: 'write' } as const;
const params = z.object({ taskId: taskIdSchema });

const modelNameField = z.string().trim().min(1).max(MAX_MODEL_NAME_LENGTH);

export const anantaProposeBodySchema = z
  .object({
    prompt: z
      .string()
      .max(MAX_GOAL_LENGTH)
      .nullish()
      .meta({ description: 'What this step is to do; default: the task' }),
    provider: modelNameField.nullish().meta({ description: '`<provider>` or `<provider>:<model>`' }),
    providers: z.array(modelNameField).max(MAX_ANANTA_PROVIDERS).nullish().meta({
      description: 'Several to compare: the first known one makes the proposal',
    }),
    model: modelNameField.nullish(),
    task_id: taskIdSchema.nullish(),
  })
  .meta({ id: 'AnantaStepQuestion' });
export type AnantaProposeBody = z.infer<typeof anantaProposeBodySchema>;

/** A call of a tool, in either spelling of the family. */
export const anantaToolCallSchema = z.object({
  name: z.string().min(1).max(200).nullish(),
  tool_name: z.string().min(1).max(200).nullish(),
  args: z.record(z.string(), z.unknown()).nullish(),
  arguments: z.record(z.string(), z.unknown()).nullish(),
});

export const anantaExecuteBodySchema = z
  .object({
    command: z
      .string()
      .max(120 * 1024)
      .nullish()
      .meta({ description: 'Absent: the newest proposal' }),
    tool_calls: z.array(anantaToolCallSchema).max(MAX_TOOL_CALLS).nullish().meta({
      description: 'Tools of the hub, `{name, args}`: only for administrators, within the guardrails',
    }),
    timeout: z
      .number()
      .min(MIN_TIMEOUT_S)
      .nullish()
      .meta({
        description: `Seconds, of each attempt; default ${DEFAULT_TIMEOUT_S}, at most MAX_TIMEOUT`,
      }),
    task_id: taskIdSchema.nullish(),
    retries: z.int().min(0).max(MAX_RETRIES).nullish().meta({
      description: 'Further attempts, each a command of its own, after one that failed for certain',
    }),
    retry_delay: z
      .number()
      .min(0)
      .max(MAX_RETRY_DELAY_S)
      .nullish()
      .meta({ description: 'Seconds; default 1' }),
  })
  .meta({ id: 'AnantaStepExecution' });
export type AnantaToolCall = z.infer<typeof anantaToolCallSchema>;
export type AnantaExecuteBody = z.infer<typeof anantaExecuteBodySchema>;

export const DEFAULT_STEP_TIMEOUT_MS = DEFAULT_TIMEOUT_S * 1000;
export const DEFAULT_RETRY_DELAY_MS = 1_000;

const comparisonSchema = z.union([
  z.object({ raw: z.string(), reason: z.string(), command: z.string().nullable(), tool_calls: z.null() }),
  z.object({ error: z.string() }),
]);

const answerFields = {
  reason: z.string(),
  command: z.string().nullable().meta({ description: 'null: the model sees nothing left to do' }),
  tool_calls: z.array(z.unknown()).nullable(),
  raw: z.string(),
  comparisons: z.record(z.string(), comparisonSchema).optional(),
};

const executedSchema = z
  .object({
    output: z.string(),
    exit_code: z
      .int()
      .meta({ description: '-1 of what ended without one: out of time, stopped, never started, unknown' }),
    task_id: z.string().nullable(),
    status: z.enum(['completed', 'failed']),
    output_truncated: z.boolean(),
    output_url: z.string().optional().meta({ description: 'Where all of a cut output is' }),
    command_id: z.string().nullable().meta({ description: 'Of the last attempt' }),
    outcome: z
      .enum(commandStates)
      .nullable()
      .meta({ description: 'State of that command; `unknown`: nobody knows' }),
    attempts: z.int(),
    quality_gate: z.string().nullable().meta({ description: 'What the quality gates said of it' }),
  })
  .meta({ id: 'AnantaStepResult' });
export type AnantaExecuted = z.infer<typeof executedSchema>;

const askErrors = [
  'invalid_request',
  'idempotency_conflict',
  'service_unavailable',
  'budget_exceeded',
  'model_unavailable',
] as const satisfies readonly ErrorCode[];

const taskAskErrors = [
  'task_not_found',
  'task_not_open',
  'task_blocked',
  'no_agent',
  'conflict',
  'command_running',
  'proposal_pending',
  'forwarding_failed',
] as const satisfies readonly ErrorCode[];

const actErrors = [
  'invalid_request',
  'no_proposal',
  'tool_guardrail_blocked',
  'idempotency_conflict',
  'service_unavailable',
  'execution_pending',
  'conflict',
] as const satisfies readonly ErrorCode[];

const taskActErrors = [
  'task_not_found',
  'step_not_found',
  'task_not_open',
  'task_blocked',
  'no_agent',
  'already_decided',
  'approval_expired',
  'stale_digest',
  'command_running',
  'command_conflict',
  'agent_not_found',
  'agent_revoked',
  'forwarding_failed',
] as const satisfies readonly ErrorCode[];

export const anantaProposeStepRoutes = onPaths(
  {
    ...shared,
    method: 'POST',
    path: '/tasks/{taskId}/step/propose',
    summary: 'Ask for the next step of a task and wait for the proposal',
    description:
      'A task in manual mode gets a new proposal, in place of one that is undecided; one that has ended begins anew. ' +
      'In the other modes the task proposes by itself and this only waits. Nothing runs.',
    takesIdempotencyKey: true,
    verb: 'propose',
    resource: 'task',
    params,
    body: anantaProposeBodySchema.nullish(),
    replies: { 200: anantaSuccess(z.object({ status: z.enum(anantaStatuses), ...answerFields })) },
    errors: [...askErrors, ...taskAskErrors],
  },
  '/api/tasks/{taskId}/step/propose',
);

export const anantaExecuteStepRoutes = onPaths(
  {
    ...shared,
    method: 'POST',
    path: '/tasks/{taskId}/step/execute',
    summary: 'Run the newest proposal, a command or tools for a task, and wait for the outcome',
    description:
      'Recorded as proposal and approval by you. A failing command is an answer, not an error. A task in manual mode ' +
      'ends with the outcome; one that has ended begins anew for a command of yours. What has not ended `timeout` and 5 s ' +
      'later (with all attempts) goes on, and the answer is 504 with its `command_id`.',
    takesIdempotencyKey: true,
    verb: 'execute',
    resource: 'task',
    params,
    body: anantaExecuteBodySchema.nullish(),
    replies: { 200: anantaSuccess(executedSchema) },
    errors: [...actErrors, ...taskActErrors],
  },
  '/api/tasks/{taskId}/step/execute',
);

export const anantaProposeLooseRoutes = onPaths({
  ...shared,
  rateClass: 'model',
  method: 'POST',
  path: '/step/propose',
  summary: 'Ask the model for a command, for no task',
  description: 'For the machine of the server. Nothing is kept. With `task_id` it is as for that task.',
  takesIdempotencyKey: true,
  verb: 'propose',
  resource: 'task',
  body: anantaProposeBodySchema.nullish(),
  replies: {
    200: anantaSuccess(z.object({ status: z.enum(anantaStatuses).optional(), ...answerFields })),
  },
  errors: [...askErrors, ...taskAskErrors],
});

export const anantaExecuteLooseRoutes = onPaths({
  ...shared,
  method: 'POST',
  path: '/step/execute',
  summary: 'Run a command or tools, for no task, on the machine of the server',
  description:
    'Further attempts are made for as long as the request is open. With `task_id` it is as for that task. ' +
    'No agent of the server connected: 503.',
  takesIdempotencyKey: true,
  verb: 'execute',
  resource: 'task',
  body: anantaExecuteBodySchema.nullish(),
  replies: { 200: anantaSuccess(executedSchema) },
  errors: [...actErrors, ...taskActErrors, 'local_agent_unavailable'],
});
