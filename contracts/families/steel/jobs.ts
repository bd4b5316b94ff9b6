/** Jobs as clients of steel know them: tasks of the kind `job`, in `manual` mode. */
import { z } from 'zod';
import { defineRoute, empty, json } from '../../route.ts';
import { steelStatuses } from '../../states.ts';
import { taskIdSchema } from '../../task-routes.ts';
import { noWords, titleAndDescription, wordsSchema, yesWords } from './common.ts';
import { changeHeaders, etagNote, readHeaders } from './etags.ts';
import { steelTimeSchema } from './time.ts';

/** Jobs of one answer: as many as asked for, all of them up to this. */
export const MAX_LISTED_JOBS = 10_000;
/** Jobs that may be skipped. */
export const MAX_SKIPPED_JOBS = 1_000_000;

export const steelJobSchema = z
  .object({
    id: z.string(),
    name: z.string(),
    status: z.enum(steelStatuses),
    created_at: steelTimeSchema,
    updated_at: steelTimeSchema.nullable().meta({ description: 'Null until it changes' }),
  })
  .meta({ id: 'SteelJob' });
export type SteelJob = z.infer<typeof steelJobSchema>;
