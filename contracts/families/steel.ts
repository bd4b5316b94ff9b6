import { z } from 'zod';
import { pydanticIssueSchema } from './pydantic-issue.ts';

/** Both error shapes at once: `error` is the documented one, older clients read `detail`. */
export const steelErrorSchema = z
  .object({
    error: z.object({
      type: z.enum(['http_exception', 'validation_error', 'internal_server_error']),
      code: z.int().meta({ description: 'HTTP status' }),
      message: z.string(),
      path: z.string(),
      method: z.string(),
    }),
    detail: z.union([z.string(), z.array(pydanticIssueSchema)]),
  })
  .meta({ id: 'SteelError' });
export type SteelError = z.infer<typeof steelErrorSchema>;
