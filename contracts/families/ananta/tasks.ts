/** Tasks as clients of ananta know them. Their routes are in `task-routes.ts`. */
import { z } from 'zod';
import { anantaStatuses, parseAnantaStatus } from '../../states.ts';
import {
  dependsOnSchema,
  MAX_GOAL_LENGTH,
  MAX_TITLE_LENGTH,
  taskIdSchema,
  taskTagsSchema,
} from '../../tasks.ts';

/** Longest name of a priority, characters: clients have words of their own. */
export const MAX_PRIORITY_LENGTH = 32;
/** Longest address or name by which a client names an agent, characters. */
export const MAX_AGENT_REF_LENGTH = 2_048;
/** Longest token that a client hands over, characters. */
export const MAX_FOREIGN_TOKEN_LENGTH = 4_096;
/** Most tasks of one answer; who asks for more is given as many. */
export const MAX_ANANTA_LIST = 500;
/** Most that may be skipped. */
export const MAX_ANANTA_OFFSET = 1_000_000;
/** Follow-ups of one request. */
export const MAX_FOLLOWUPS = 100;
/** Entries of a timeline's answer. */
export const MAX_TIMELINE_ITEMS = 1_000;
/** Entries of the log of everything. */
export const RECENT_LOG_ENTRIES = 100;
/** Silence on a stream of the family before a comment is sent, milliseconds. */
export const ANANTA_KEEP_ALIVE_MS = 15_000;

/** Segments that stand beside an id in paths: a task with such an id could not be reached. */
const literalSegments = ['archived', 'autopilot', 'timeline'] as const;

export const anantaTaskIdSchema = taskIdSchema.refine(
  (id) => !literalSegments.some((segment) => segment === id),
  { error: `must not be one of ${literalSegments.join(', ')}` },
);

/** A status in whatever spelling: `To-Do`, `done`, `In Progress`. */
export const anantaStatusField = z
  .string()
  .max(32)
  .refine((text) => parseAnantaStatus(text) !== undefined, {
    error: `must be one of ${anantaStatuses.join(', ')}, or another word for it`,
  })
  .meta({ description: `${anantaStatuses.join(', ')}; also to-do, backlog, done, In Progress and the like` });

const priorityField = z.string().trim().min(1).max(MAX_PRIORITY_LENGTH);
const agentRefField = z.string().trim().min(1).max(MAX_AGENT_REF_LENGTH);
const foreignTokenField = z.string().max(MAX_FOREIGN_TOKEN_LENGTH);
const opaqueIdField = z.string().min(1).max(128);

/** What a task says, at its creation and later. `null` is what was not given. */
const taskWords = {
  title: z.string().trim().max(MAX_TITLE_LENGTH).nullish(),
  description: z.string().max(MAX_GOAL_LENGTH).nullish(),
  status: anantaStatusField.nullish(),
  priority: priorityField.nullish(),
  tags: taskTagsSchema.nullish(),
  depends_on: dependsOnSchema.nullish().meta({
    description: 'Tasks that have to complete first; until then the status is `blocked`',
  }),
  team_id: opaqueIdField.nullish().meta({ description: 'Needs the right to assign' }),
  assigned_role_id: opaqueIdField.nullish().meta({ description: 'Needs the right to assign' }),
};

export const anantaCreateTaskBodySchema = z
  .object({
    id: anantaTaskIdSchema.nullish().meta({ description: 'Ours when absent' }),
    ...taskWords,
    template_id: opaqueIdField
      .nullish()
      .meta({ description: 'Filled in with the task, it is what is to be done' }),
    parent_task_id: taskIdSchema.nullish(),
    callback_url: z.string().max(MAX_AGENT_REF_LENGTH).nullish(),
    callback_token: foreignTokenField.nullish(),
  })
  .meta({ id: 'AnantaNewTask' });
export type AnantaNewTask = z.infer<typeof anantaCreateTaskBodySchema>;

export const anantaEditTaskBodySchema = z
  .object({
    ...taskWords,
    force: z
      .boolean()
      .nullish()
      .meta({ description: 'End it although a command is out: the command is told to stop' }),
  })
  .meta({ id: 'AnantaTaskChange' });
export type AnantaTaskChange = z.infer<typeof anantaEditTaskBodySchema>;

/** One attempt that ran, as it is kept; families' clients read what they know of it. */
export const anantaHistoryItemSchema = z
  .looseObject({
    prompt: z.string().nullable(),
    reason: z.string(),
    command: z.string().nullable(),
    tool_calls: z.array(z.unknown()).nullable(),
    output: z.string(),
    exit_code: z.int().nullable(),
    timestamp: z.number(),
  })
  .meta({ id: 'AnantaHistoryItem' });

export const anantaProposalSchema = z
  .looseObject({
    reason: z.string(),
    command: z.string().nullable(),
    tool_calls: z.array(z.unknown()).nullable(),
    raw: z.string(),
  })
  .meta({ id: 'AnantaProposal' });

export const anantaTaskSchema = z
  .object({
    id: z.string(),
    title: z.string().nullable(),
    description: z.string().nullable(),
    status: z.enum(anantaStatuses),
    priority: z.string(),
    created_at: z.number().meta({ description: 'Seconds since the epoch' }),
    updated_at: z.number(),
    team_id: z.string().nullable(),
    assigned_agent_url: z.string().nullable().meta({
      description: 'Address of the agent; its id where it is not reached by one',
    }),
    assigned_role_id: z.string().nullable(),
    history: z.array(anantaHistoryItemSchema),
    last_proposal: anantaProposalSchema.nullable(),
    last_output: z.string().nullable(),
    last_exit_code: z.int().nullable(),
    callback_url: z.string().nullable(),
    callback_token: z
      .string()
      .nullable()
      .meta({ description: 'Never the token itself: asterisks where there is one' }),
    parent_task_id: z.string().nullable(),
    depends_on: z.array(z.string()),
  })
  .meta({ id: 'AnantaTask' });
export type AnantaTask = z.infer<typeof anantaTaskSchema>;

const offsetQuery = {
  limit: z.coerce
    .number()
    .int()
    .min(1)
    .overwrite((limit) => Math.min(limit, MAX_ANANTA_LIST))
    .default(100)
    .meta({ description: `At most ${MAX_ANANTA_LIST} are given` }),
  offset: z.coerce.number().int().min(0).max(MAX_ANANTA_OFFSET).default(0),
};
/** Seconds since the epoch, with a fraction. */
const secondsField = z.coerce.number().min(0).max(253_402_300_799);
/** What a client may leave empty in a form. */
const agentQueryField = z
  .string()
  .max(MAX_AGENT_REF_LENGTH)
  .refine((text) => !text.includes('\u0000'), { error: 'must not hold a NUL character' });

export const anantaTaskListQuerySchema = z.strictObject({
  status: anantaStatusField.optional(),
  agent: agentQueryField.optional().meta({ description: 'Address, host name or id' }),
  since: secondsField
    .optional()
    .meta({ description: 'Created at this time or later, seconds since the epoch' }),
  until: secondsField.optional().meta({ description: 'Created at this time or earlier' }),
  ...offsetQuery,
});
export const anantaArchivedListQuerySchema = z.strictObject(offsetQuery);

export const anantaAssignBodySchema = z.object({
  agent_url: agentRefField.meta({ description: 'Address, host name or id of the agent' }),
  token: foreignTokenField
    .nullish()
    .meta({ description: 'What the agent wants to be asked with; kept sealed' }),
});

export const anantaFollowupsBodySchema = z.object({
  items: z
    .array(
      z.object({
        description: z.string().max(MAX_GOAL_LENGTH).nullish(),
        priority: priorityField.nullish(),
        agent_url: agentRefField.nullish(),
        agent_token: foreignTokenField.nullish(),
      }),
    )
    .max(MAX_FOLLOWUPS),
});

export const anantaFollowupsSchema = z.object({
  parent_task_id: z.string(),
  created: z.array(
    z.object({
      id: z.string(),
      status: z.enum(['blocked', 'todo']),
      parent_task_id: z.string(),
      description: z.string(),
      assigned_agent_url: z.string().nullable(),
    }),
  ),
  skipped: z.array(
    z.object({ description: z.string().optional(), reason: z.enum(['duplicate', 'empty_description']) }),
  ),
});

export const anantaTimelineTypes = [
  'task_created',
  'task_assigned',
  'task_unassigned',
  'task_handoff',
  'task_blocked',
  'task_unblocked',
  'task_status_changed',
  'task_completed',
  'task_failed',
  'task_cancelled',
  'proposal_snapshot',
  'proposal_decided',
  'execution_started',
  'execution_result',
  'step_judged',
  'quality_gate_failed',
  'tool_guardrail_blocked',
] as const;
export type AnantaTimelineType = (typeof anantaTimelineTypes)[number];

export const anantaTimelineQuerySchema = z.strictObject({
  team_id: opaqueIdField.optional(),
  agent: agentQueryField.optional(),
  status: anantaStatusField.optional(),
  error_only: z
    .enum(['true', 'false', '1', '0'])
    .optional()
    .meta({ description: 'Only what went wrong: failures, and tools that were stopped' }),
  since: secondsField.optional(),
  limit: z.coerce
    .number()
    .int()
    .min(1)
    .overwrite((limit) => Math.min(limit, MAX_TIMELINE_ITEMS))
    .default(200),
});

export const anantaTimelineSchema = z.object({
  items: z.array(
    z
      .object({
        event_type: z.enum(anantaTimelineTypes),
        task_id: z.string(),
        team_id: z.string().nullable(),
        task_status: z.enum(anantaStatuses),
        timestamp: z.number(),
        actor: z.string(),
        details: z.record(z.string(), z.unknown()),
      })
      .meta({ id: 'AnantaTimelineItem' }),
  ),
  total: z.int().meta({ description: 'How many match, before the limit' }),
});
export type AnantaTimelineItem = z.infer<typeof anantaTimelineSchema>['items'][number];

/** A line of the log of everything: steps in and out, and what people do in terminals. */
export const anantaLogEntrySchema = z
  .looseObject({ timestamp: z.number(), timestamp_iso: z.string() })
  .meta({ id: 'AnantaLogEntry' });
