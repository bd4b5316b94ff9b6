import { z } from 'zod';

/** Error envelope; `data` is left out when there is nothing to say. */
export const anantaErrorSchema = z
  .object({
    status: z.enum(['error', 'shutdown_in_progress']),
    message: z.string().optional(),
    data: z.record(z.string(), z.unknown()).optional(),
  })
  .meta({ id: 'AnantaError' });
export type AnantaError = z.infer<typeof anantaErrorSchema>;

/** Success envelope of the family: `{"status":"success","data":…}`. */
export function anantaSuccess<Data extends z.ZodType>(data: Data) {
  return z.object({ status: z.literal('success'), data });
}
