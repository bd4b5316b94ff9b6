import { z } from 'zod';

/** RFC 9457 problem, `application/problem+json`; any family answers it when the client's Accept names that type. */
export const problemSchema = z
  .object({
    type: z
      .string()
      .meta({ description: 'URN of the error code', example: 'urn:steelthread:error:task_not_found' }),
    title: z.string(),
    status: z.int(),
    detail: z.string(),
    instance: z.string().meta({ description: 'Path of the request' }),
    code: z.string().meta({ description: 'Stable error code, see the error reference' }),
    retryable: z.boolean().meta({ description: 'The same request, unchanged, may succeed later' }),
    requestId: z.string(),
    errors: z
      .array(
        z.object({
          pointer: z.string(),
          in: z.enum(['body', 'query', 'path', 'header']),
          message: z.string(),
        }),
      )
      .optional()
      .meta({
        description: 'What is wrong with the request, as JSON pointers into its body, query, path or headers',
      }),
    details: z.record(z.string(), z.unknown()).optional(),
  })
  .meta({ id: 'Problem' });
export type Problem = z.infer<typeof problemSchema>;
