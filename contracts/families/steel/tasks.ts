/** What the contracts of jobs and of collaboration tasks share. */
import { z } from 'zod';
import type { ErrorCode } from '../../errors.ts';
import { MAX_GOAL_LENGTH, MAX_TITLE_LENGTH } from '../../tasks.ts';

/** Most of one answer: all there are, up to this, unless fewer are asked for. */
export const MAX_STEEL_LIST = 10_000;
/** Most that may be skipped. */
export const MAX_STEEL_SKIP = 1_000_000;

export const steelTitleSchema = z.string().trim().min(1).max(MAX_TITLE_LENGTH);
/** Nothing but blanks is no description. */
export const steelDescriptionSchema = z.string().trim().max(MAX_GOAL_LENGTH).nullish();

export const steelListQuery = {
  skip: z.coerce.number().int().min(0).max(MAX_STEEL_SKIP).default(0),
  limit: z.coerce.number().int().min(1).max(MAX_STEEL_LIST).default(MAX_STEEL_LIST),
};

const forceWords = ['true', 'false', '1', '0'] as const;
export const steelForceQuery = {
  force: z.enum(forceWords).optional().meta({
    description: 'Although a command is out: it is told to stop, and the task ends when it has',
  }),
};
export const isForced = (word: (typeof forceWords)[number] | undefined): boolean =>
  word === 'true' || word === '1';

/** Longest reason for an end, characters. */
export const MAX_STEEL_REASON_LENGTH = 2_000;

export const steelReadHeaders = z.object({
  'if-none-match': z
    .string()
    .optional()
    .meta({ description: 'ETags, quoted or bare, weak ones too, or `*`; what is malformed is ignored' }),
});
export const steelChangeHeaders = z.object({
  'if-match': z.string().optional().meta({
    description: 'ETags, or `*`: the change is made to what has one of them, otherwise refused (412)',
  }),
});

export const etagHeader = {
  ETag: 'sha256 of the JSON with sorted keys, as Python writes it: `json.dumps(body, sort_keys=True)`',
} as const;

/** What every change of something that exists may answer. */
export const steelChangeErrors = [
  'task_not_found',
  'precondition_failed',
  'task_not_open',
  'task_blocked',
  'conflict',
] as const satisfies readonly ErrorCode[];
