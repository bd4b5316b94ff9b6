/** Tasks, steps, decisions and the timeline, as the house API speaks them. */
import { z } from 'zod';
import { actSchema } from './act.ts';
import { agentIdSchema } from './agent-protocol.ts';
import { actRequestSchema, commandSchema } from './commands.ts';
import { actorRefSchema, bearerTokenSchema, pageOf, pageQuery, timeSchema } from './shared.ts';
import { taskStateSchema } from './states.ts';

export { endedTaskStates, type TaskEnd, type TaskState, taskStates } from './states.ts';

export const taskModes = ['manual', 'supervised', 'auto'] as const;
export type TaskMode = (typeof taskModes)[number];
export const taskKinds = ['task', 'job', 'collab'] as const;
export type TaskKind = (typeof taskKinds)[number];

/** Defaults and bounds of a task's limits. */
export const DEFAULT_MAX_STEPS = 25;
export const MAX_MAX_STEPS = 500;
export const DEFAULT_DEADLINE_MS = 7 * 24 * 60 * 60 * 1000;
export const MAX_DEADLINE_MS = 90 * 24 * 60 * 60 * 1000;
export const DEFAULT_APPROVAL_TIMEOUT_MS = 24 * 60 * 60 * 1000;
export const MAX_TITLE_LENGTH = 255;
export const MAX_GOAL_LENGTH = 20_000;
export const MAX_PRE_APPROVED = 50;
/** Most tags of a task, and the longest, characters. */
export const MAX_TASK_TAGS = 32;
export const MAX_TASK_TAG_LENGTH = 64;
/** Most tasks that one task may wait for. */
export const MAX_DEPENDENCIES = 100;

/** A task's id as clients know it: ours, or one chosen by the client of a family. */
export const taskIdSchema = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$/);

/** Families may use words of their own. */
export const taskPriorities = ['low', 'medium', 'high', 'critical'] as const;

/** The same one twice is the same one once. */
const unique = (texts: string[]): string[] => [...new Set(texts)];
export const taskTagsSchema = z
  .array(z.string().trim().min(1).max(MAX_TASK_TAG_LENGTH))
  .max(MAX_TASK_TAGS)
  .overwrite(unique);
export const dependsOnSchema = z.array(taskIdSchema).max(MAX_DEPENDENCIES).overwrite(unique);

export const taskTargetSchema = z
  .union([
    z.strictObject({ agentId: agentIdSchema }),
    z
      .strictObject({ tags: z.array(z.string().min(1).max(64)).min(1).max(16) })
      .meta({ description: 'Least busy agent that has all tags' }),
    z.strictObject({ any: z.literal(true) }).meta({ description: 'Least busy agent' }),
  ])
  .meta({ description: 'Where the task runs' });
export type TaskTarget = z.infer<typeof taskTargetSchema>;

export const createTaskBodySchema = z.strictObject({
  goal: z.string().trim().min(1).max(MAX_GOAL_LENGTH).meta({ description: 'The goal in plain words' }),
  title: z
    .string()
    .trim()
    .min(1)
    .max(MAX_TITLE_LENGTH)
    .optional()
    .meta({ description: 'Default: the start of the goal' }),
  mode: z.enum(taskModes).default('supervised'),
  target: taskTargetSchema.default({ any: true }),
  preApproved: z
    .array(
      z
        .string()
        .min(1)
        .max(120 * 1024),
    )
    .max(MAX_PRE_APPROVED)
    .default([])
    .meta({ description: 'Literal commands that `auto` mode may run undecided; needs the right to decide' }),
  maxSteps: z.int().min(1).max(MAX_MAX_STEPS).default(DEFAULT_MAX_STEPS),
  deadlineMs: z.int().min(1000).max(MAX_DEADLINE_MS).default(DEFAULT_DEADLINE_MS),
  approvalTimeoutMs: z.int().min(1000).max(MAX_DEADLINE_MS).default(DEFAULT_APPROVAL_TIMEOUT_MS),
  commandTimeoutMs: z
    .int()
    .min(100)
    .optional()
    .meta({ description: 'Default DEFAULT_TIMEOUT, at most MAX_TIMEOUT' }),
  expiryMs: z
    .int()
    .min(1000)
    .optional()
    .meta({ description: 'How long a command waits for an offline agent' }),
  priority: z.enum(taskPriorities).default('medium'),
  tags: taskTagsSchema.default([]).meta({ description: 'Words by which people find it' }),
  dependsOn: dependsOnSchema
    .default([])
    .meta({ description: 'Ids of tasks that have to complete first: until then it is `blocked`' }),
  parentTaskId: taskIdSchema.optional().meta({ description: 'The task it is part of' }),
  callbackUrl: z.string().min(1).max(2_048).optional().meta({
    description: 'Every change of its status is posted there; public, or listed in WEBHOOK_URL_ALLOW',
  }),
  callbackToken: bearerTokenSchema.optional().meta({
    description: 'Sent to `callbackUrl` as the bearer token, and signs what is posted; never shown',
  }),
});
export type CreateTaskBody = z.infer<typeof createTaskBodySchema>;

export const taskResultSchema = z.object({
  success: z.boolean(),
  summary: z.string(),
  /** Machine-readable reason of an end that is not a completion, for example `max_steps`, `workflow_lost`. */
  reason: z.string().nullable(),
});
export type TaskResult = z.infer<typeof taskResultSchema>;

export const taskSchema = z
  .object({
    id: z.string(),
    kind: z.enum(taskKinds),
    title: z.string(),
    goal: z.string(),
    mode: z.enum(taskModes),
    state: taskStateSchema,
    version: z.int().meta({ description: 'From 1, raised by every change' }),
    runNo: z.int(),
    step: z.int().meta({ description: 'Number of the newest step, 0 before the first' }),
    target: taskTargetSchema,
    agentId: z.string().nullable(),
    waitingReason: z
      .string()
      .nullable()
      .meta({ description: '`no_agent`; of a blocked task `dependencies` or `on_hold`' }),
    priority: z.string(),
    tags: z.array(z.string()),
    dependsOn: z.array(z.string()),
    parentTaskId: z.string().nullable(),
    preApproved: z.array(z.string()),
    maxSteps: z.int(),
    deadlineAt: timeSchema,
    approvalTimeoutMs: z.int(),
    commandTimeoutMs: z.int(),
    expiryMs: z.int(),
    createdBy: actorRefSchema,
    createdAt: timeSchema,
    updatedAt: timeSchema,
    cancelRequestedAt: timeSchema.nullable(),
    endedAt: timeSchema.nullable(),
    result: taskResultSchema.nullable(),
    seal: z.string().nullable().meta({ description: 'sha256 over the sealed record of an ended task' }),
    archivedAt: timeSchema.nullable(),
  })
  .meta({ id: 'Task' });
export type TaskView = z.infer<typeof taskSchema>;

export const riskLabels = ['safe', 'caution', 'dangerous'] as const;
export type RiskLabel = (typeof riskLabels)[number];

export const stepDecisions = ['approve', 'edit', 'reject', 'void', 'expire', 'cancel'] as const;
export type StepDecision = (typeof stepDecisions)[number];

export const stepSchema = z
  .object({
    taskId: z.string(),
    runNo: z.int(),
    step: z.int(),
    proposalId: z.uuid(),
    origin: z.enum(['model', 'person']),
    author: actorRefSchema,
    text: z.string().meta({ description: 'The command as a person reads it' }),
    act: actSchema.meta({
      description:
        'All that the digest binds and a decision lets run: also input, environment, user, elevation',
    }),
    mode: z.enum(['shell', 'argv']),
    shell: z.string().nullable(),
    timeoutMs: z.int(),
    agentIds: z.array(z.string()),
    digest: z.string().meta({ description: 'Batch digest: what a decision must name' }),
    reason: z.string(),
    expectedEffect: z.string(),
    risk: z.object({ label: z.enum(riskLabels), reasons: z.array(z.string()) }),
    proposedAt: timeSchema,
    expiresAt: timeSchema,
    decision: z.enum(stepDecisions).nullable(),
    decidedBy: actorRefSchema.nullable(),
    decidedAt: timeSchema.nullable(),
    decisionReason: z.string().nullable(),
    originalText: z
      .string()
      .nullable()
      .meta({ description: 'What the model had proposed, when a person edited it' }),
    batchId: z.uuid().nullable(),
    model: z.string().nullable(),
    mock: z.boolean(),
    usage: z.object({ inputTokens: z.int(), outputTokens: z.int(), costUsd: z.number() }),
    commands: z.array(commandSchema),
  })
  .meta({ id: 'Step' });
export type StepView = z.infer<typeof stepSchema>;

const digestField = z.string().regex(/^[0-9a-f]{64}$/);
export const decideBodySchema = z.discriminatedUnion('decision', [
  z.strictObject({
    decision: z.literal('approve'),
    step: z.int().min(1),
    digest: digestField,
    reason: z.string().max(2000).optional(),
  }),
  z.strictObject({
    decision: z.literal('reject'),
    step: z.int().min(1),
    digest: digestField,
    reason: z.string().trim().min(1).max(2000),
    final: z
      .boolean()
      .default(false)
      .meta({ description: 'End the task instead of asking for another proposal' }),
  }),
  z.strictObject({
    decision: z.literal('edit'),
    step: z.int().min(1),
    digest: digestField,
    act: actRequestSchema,
    reason: z.string().max(2000).optional(),
  }),
]);
export type DecideBody = z.infer<typeof decideBodySchema>;

export const executeBodySchema = z.strictObject({
  act: actRequestSchema.optional().meta({
    description: 'Your own act: recorded as proposal and approval by you. Absent: the newest proposal',
  }),
  digest: digestField.optional().meta({ description: 'Bind the execution to exactly this proposal' }),
  reason: z.string().max(2000).optional(),
});
export type ExecuteBody = z.infer<typeof executeBodySchema>;

export const proposeBodySchema = z.strictObject({
  waitMs: z
    .int()
    .min(0)
    .max(120_000)
    .default(60_000)
    .meta({ description: 'Wait this long for the proposal before answering' }),
});

export const editTaskBodySchema = z.strictObject({
  title: z.string().trim().min(1).max(MAX_TITLE_LENGTH).optional(),
  goal: z.string().trim().min(1).max(MAX_GOAL_LENGTH).optional(),
  priority: z.enum(taskPriorities).optional(),
  tags: taskTagsSchema.optional(),
  dependsOn: dependsOnSchema.optional().meta({
    description: 'Replaces the list. Only of a task that has not begun, unless all of them have completed',
  }),
});

export const assignBodySchema = z.strictObject({ agentId: agentIdSchema });
export const cancelBodySchema = z.strictObject({ reason: z.string().max(2000).optional() });

export const taskListQuerySchema = z.strictObject({
  ...pageQuery,
  state: taskStateSchema.optional(),
  mode: z.enum(taskModes).optional(),
  kind: z.enum(taskKinds).optional(),
  agentId: agentIdSchema.optional(),
  open: z
    .enum(['true', 'false'])
    .optional()
    .meta({ description: 'Only open (true) or only ended (false) tasks' }),
  archived: z.enum(['true', 'false']).default('false'),
});
export type TaskListQuery = z.infer<typeof taskListQuerySchema>;
export const taskPageSchema = pageOf(taskSchema);

export const timelineItemSchema = z
  .object({
    at: timeSchema,
    type: z.string(),
    actor: actorRefSchema.nullable(),
    step: z.int().nullable(),
    commandId: z.string().nullable(),
    agentId: z.string().nullable(),
    summary: z.string(),
    details: z.record(z.string(), z.unknown()),
  })
  .meta({ id: 'TimelineItem' });
export type TimelineItem = z.infer<typeof timelineItemSchema>;
