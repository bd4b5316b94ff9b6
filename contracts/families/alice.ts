import { z } from 'zod';
import { pydanticIssueSchema } from './pydantic-issue.ts';

export const aliceErrorSchema = z
  .object({
    detail: z.union([z.string(), z.array(pydanticIssueSchema)]),
    code: z.string().meta({ description: 'Error code in upper case', example: 'INVALID_CREDENTIALS' }),
    timestamp: z.iso.datetime(),
    path: z.string(),
  })
  .meta({ id: 'AliceError' });
export type AliceError = z.infer<typeof aliceErrorSchema>;
