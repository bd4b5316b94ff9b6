/** Rollouts: one run over many agents, batch after batch, as the house API speaks of them. */
import { z } from 'zod';
import { MAX_EXPIRY_MS } from './act.ts';
import { agentIdSchema } from './agent-protocol.ts';
import { commandStates } from './command-states.ts';
import { actRequestSchema, rerunOutcomes } from './commands.ts';
import { parameterNameSchema, parameterValueSchema } from './saved-commands.ts';
import { actorRefSchema, pageOf, pageQuery, timeSchema } from './shared.ts';

/** Most targets of one rollout. */
export const MAX_ROLLOUT_TARGETS = 10_000;
/** Longest name of a rollout, characters. */
export const MAX_ROLLOUT_NAME_LENGTH = 200;
/** Longest tag expression, characters. */
const MAX_TAGS_LENGTH = 1_000;
/** Targets of a batch where nobody says. */
export const DEFAULT_ROLLOUT_BATCH_SIZE = 10;
/** Shortest and longest pause between batches, milliseconds. */
export const MIN_BATCH_PAUSE_MS = 1_000;
export const MAX_BATCH_PAUSE_MS = 7 * 24 * 60 * 60 * 1000;
/** How long a batch waits for its approval where nobody says, and at most, milliseconds. */
export const DEFAULT_ROLLOUT_APPROVAL_MS = 24 * 60 * 60 * 1000;
export const MAX_ROLLOUT_APPROVAL_MS = 30 * 24 * 60 * 60 * 1000;
/**
 * Where offline agents are skipped: how long a command waits for an agent that was connected when its batch began and
 * then was not, milliseconds.
 */
export const SKIP_OFFLINE_EXPIRY_MS = 5 * 60 * 1000;

export const endedRolloutStates = ['completed', 'failed', 'canceled', 'expired'] as const;
export type RolloutEnd = (typeof endedRolloutStates)[number];

/**
 * `created`: its workflow has not begun. `running`: a batch is out. `waiting`: the pause before the next batch.
 * `awaiting_approval`: the next batch waits for a person. `paused`: held by a person, nothing is out.
 */
export const rolloutStates = [
  'created',
  'running',
  'waiting',
  'awaiting_approval',
  'paused',
  ...endedRolloutStates,
] as const;
export type RolloutState = (typeof rolloutStates)[number];

/** What stands between a batch and the next one. */
export const rolloutGateSchema = z
  .discriminatedUnion('kind', [
    z.strictObject({ kind: z.literal('none') }),
    z.strictObject({
      kind: z.literal('pause'),
      pauseMs: z.int().min(MIN_BATCH_PAUSE_MS).max(MAX_BATCH_PAUSE_MS),
    }),
    z.strictObject({ kind: z.literal('approval') }),
  ])
  .meta({ id: 'RolloutGate' });
export type RolloutGate = z.infer<typeof rolloutGateSchema>;

const percentSchema = z.int().min(1).max(100);
const countSchema = z.int().min(1).max(MAX_ROLLOUT_TARGETS);

const canarySchema = z
  .strictObject({
    percent: percentSchema.optional().meta({ description: 'Of all targets, rounded up' }),
    count: countSchema.optional(),
    stopOnFailure: z
      .boolean()
      .default(true)
      .meta({ description: 'One failure among the canaries ends the rollout' }),
    then: rolloutGateSchema.optional().meta({ description: 'After the canaries; default: as `between`' }),
  })
  .refine((canary) => (canary.percent === undefined) !== (canary.count === undefined), {
    error: 'must be said by either percent or count',
    path: ['percent'],
  });

const stopAfterSchema = z
  .strictObject({
    failures: countSchema.optional(),
    percent: percentSchema.optional().meta({ description: 'Of all targets of the rollout' }),
  })
  .refine((limit) => limit.failures !== undefined || limit.percent !== undefined, {
    error: 'must name failures or percent',
    path: ['failures'],
  });

const offlineSchema = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('skip') }),
  z.strictObject({ kind: z.literal('queue'), expiryMs: z.int().min(1_000).max(MAX_EXPIRY_MS) }),
]);

/** How a rollout goes; every field has a default. */
export const rolloutPlanShape = {
  canary: canarySchema
    .nullable()
    .default(null)
    .meta({ description: 'The first batch, before all others; null: none' }),
  batchSize: countSchema.default(DEFAULT_ROLLOUT_BATCH_SIZE),
  between: rolloutGateSchema
    .default({ kind: 'none' })
    .meta({ description: 'What stands between a batch and the next one' }),
  stopAfter: stopAfterSchema
    .nullable()
    .default({ failures: 1 })
    .meta({
      description:
        'No further batch begins once so many targets have failed; whichever is reached first. null: it goes on ' +
        'whatever happens. Failed are `failed`, `timed_out`, `rejected`, `expired` and `unknown`.',
    }),
  offline: offlineSchema.default({ kind: 'skip' }).meta({
    description:
      '`skip`: who has no connection when its batch begins is left out. `queue`: its command waits, and with it the ' +
      'batch, until `expiryMs` is over.',
  }),
  approvalTimeoutMs: z
    .int()
    .min(1_000)
    .max(MAX_ROLLOUT_APPROVAL_MS)
    .default(DEFAULT_ROLLOUT_APPROVAL_MS)
    .meta({ description: 'A batch that nobody approves for this long ends the rollout' }),
};
export const rolloutPlanSchema = z.strictObject(rolloutPlanShape).meta({ id: 'RolloutPlan' });
export type RolloutPlan = z.infer<typeof rolloutPlanSchema>;

const act = actRequestSchema.shape;
const savedRunSchema = z.strictObject({
  savedCommandId: z.uuid(),
  parameters: z.record(parameterNameSchema, parameterValueSchema).default({}),
  shell: act.shell.meta({ description: 'Default: the first of its scripts that fits each agent' }),
  workingDirectory: act.workingDirectory,
  user: act.user,
  elevated: act.elevated,
  timeoutMs: act.timeoutMs,
});

export const rolloutRunSchema = z.union([
  z.strictObject({
    act: actRequestSchema.refine((request) => request.expiryMs === undefined, {
      error: 'is said by `offline`',
      path: ['expiryMs'],
    }),
  }),
  savedRunSchema,
]);
export type RolloutRun = z.infer<typeof rolloutRunSchema>;

export const rolloutAgentsSchema = z.union([
  z.strictObject({
    ids: z
      .array(agentIdSchema)
      .min(1)
      .max(MAX_ROLLOUT_TARGETS)
      .meta({ description: 'Their turn is in this order: name the canaries first' }),
  }),
  z.strictObject({
    tags: z.string().min(1).max(MAX_TAGS_LENGTH).meta({ description: 'A tag expression: `web and not old`' }),
  }),
  z.strictObject({ all: z.literal(true) }),
]);
export type RolloutAgents = z.infer<typeof rolloutAgentsSchema>;

const nameSchema = z
  .string()
  .trim()
  .min(1)
  .max(MAX_ROLLOUT_NAME_LENGTH)
  .refine((text) => !/[\p{Cc}\p{Cs}]/u.test(text), { error: 'must not hold control characters' });

export const createRolloutBodySchema = z.strictObject({
  name: nameSchema.optional().meta({ description: 'Default: the start of what runs' }),
  agents: rolloutAgentsSchema.meta({ description: 'Who it is for; fixed when the rollout is created' }),
  run: rolloutRunSchema.meta({ description: 'An act, or a saved command with its parameters' }),
  ...rolloutPlanShape,
});
export type CreateRolloutBody = z.infer<typeof createRolloutBodySchema>;

/** How a target may have ended so that a new rollout can be made over it. */
export const rolloutRerunOutcomes = [...rerunOutcomes, 'skipped', 'not_run'] as const;

export const rerunRolloutBodySchema = z.strictObject({
  outcomes: z
    .array(z.enum(rolloutRerunOutcomes))
    .min(1)
    .max(rolloutRerunOutcomes.length)
    .default(['failed', 'timed_out', 'rejected', 'expired'])
    .meta({ description: 'Which targets are in the new rollout. The others only when named.' }),
});
export type RerunRolloutBody = z.infer<typeof rerunRolloutBodySchema>;

export const approveBatchBodySchema = z.strictObject({
  batchNo: z.int().min(1).max(MAX_ROLLOUT_TARGETS),
  digest: z
    .string()
    .regex(/^[0-9a-f]{64}$/)
    .meta({ description: "The batch's digest as it was read: it stands for its acts and agents" }),
});
export type ApproveBatchBody = z.infer<typeof approveBatchBodySchema>;

export const cancelRolloutBodySchema = z.strictObject({ reason: z.string().min(1).max(1_000).optional() });

/** How targets ended, or `skipped`, `not_run` (the rollout ended before its turn) and `pending` (its turn comes). */
export const rolloutTargetStates = [...commandStates, 'pending', 'skipped', 'not_run'] as const;
export type RolloutTargetState = (typeof rolloutTargetStates)[number];

const countsShape = {
  succeeded: z.int(),
  failed: z.int().meta({ description: 'failed, timed_out, rejected, expired, unknown' }),
  canceled: z.int(),
  skipped: z.int().meta({ description: 'Offline, revoked, or without a script that fits' }),
};
export const rolloutCountsSchema = z.object(countsShape);

export const rolloutBatchSchema = z
  .object({
    batchNo: z.int(),
    size: z.int(),
    isCanary: z.boolean(),
    digest: z.string().meta({ description: 'Stands for its acts and agents; an approval names it' }),
    batchIds: z.array(z.uuid()).meta({ description: 'On the ledger (`/v1/batches`): one for each act' }),
    approvedBy: actorRefSchema.nullable(),
    approvedAt: timeSchema.nullable(),
    startedAt: timeSchema.nullable(),
    finishedAt: timeSchema.nullable(),
    counts: rolloutCountsSchema,
  })
  .meta({ id: 'RolloutBatch' });
export type RolloutBatchView = z.infer<typeof rolloutBatchSchema>;

export const rolloutSchema = z
  .object({
    id: z.uuid(),
    name: z.string(),
    state: z.enum(rolloutStates),
    reason: z
      .string()
      .nullable()
      .meta({
        description:
          'Why it ended: `failure_limit`, `canary_failed`, `approval_timeout`, `workflow_lost`, `digest_mismatch`, ' +
          '`maker_not_allowed`, or the words of who canceled it',
      }),
    createdBy: actorRefSchema,
    agents: z.object({
      by: z.enum(['ids', 'tags', 'all', 'rerun']),
      tags: z.string().nullable(),
    }),
    run: z.object({
      text: z.string().meta({ description: 'The command, or the name of the saved one' }),
      savedCommandId: z.uuid().nullable(),
      revision: z.int().nullable(),
    }),
    plan: rolloutPlanSchema,
    rerunOf: z.uuid().nullable(),
    batchNo: z.int().meta({ description: 'The batch that began last; 0 before the first' }),
    batchCount: z.int(),
    counts: z
      .object({
        total: z.int(),
        pending: z.int().meta({ description: 'Their turn has not come' }),
        out: z.int().meta({ description: 'In the batch that is out, without an outcome' }),
        ...countsShape,
      })
      .meta({ description: 'The last four add up as outcomes come in' }),
    nextBatchAt: timeSchema.nullable().meta({ description: 'While `waiting`' }),
    approvalExpiresAt: timeSchema.nullable().meta({ description: 'While `awaiting_approval`' }),
    nextBatch: rolloutBatchSchema
      .pick({ batchNo: true, size: true, digest: true, approvedBy: true })
      .nullable()
      .meta({ description: 'What `approve` has to name; null after the last batch and after the end' }),
    pausedAt: timeSchema
      .nullable()
      .meta({ description: 'A pause was asked for; a batch that is out goes on to its end' }),
    cancelRequestedAt: timeSchema.nullable(),
    createdAt: timeSchema,
    startedAt: timeSchema.nullable(),
    endedAt: timeSchema.nullable(),
  })
  .meta({ id: 'Rollout' });
export type RolloutView = z.infer<typeof rolloutSchema>;

export const rolloutTargetSchema = z
  .object({
    agentId: z.string(),
    hostname: z.string(),
    batchNo: z.int(),
    state: z.enum(rolloutTargetStates),
    reason: z.string().nullable(),
    digest: z.string().nullable().meta({ description: 'Of its act; null when nothing fits the agent' }),
    commandId: z.uuid().nullable(),
    exitCode: z.int().nullable(),
    finishedAt: timeSchema.nullable(),
  })
  .meta({ id: 'RolloutTarget' });
export type RolloutTargetView = z.infer<typeof rolloutTargetSchema>;

export const rolloutListQuerySchema = z.strictObject({
  ...pageQuery,
  state: z.enum(rolloutStates).optional(),
});
export type RolloutListQuery = z.infer<typeof rolloutListQuerySchema>;

export const rolloutTargetQuerySchema = z.strictObject({
  ...pageQuery,
  state: z.enum(rolloutTargetStates).optional(),
  batchNo: z.coerce.number().int().min(1).max(MAX_ROLLOUT_TARGETS).optional(),
});
export type RolloutTargetQuery = z.infer<typeof rolloutTargetQuerySchema>;

export const rolloutPageSchema = pageOf(rolloutSchema);
export const rolloutTargetPageSchema = pageOf(rolloutTargetSchema);
export const rolloutBatchPageSchema = pageOf(rolloutBatchSchema);
