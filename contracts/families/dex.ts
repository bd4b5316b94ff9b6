import { z } from 'zod';
import { pydanticIssueSchema } from './pydantic-issue.ts';

export const dexErrorSchema = z
  .object({
    success: z.literal(false),
    error: z.string(),
    code: z.string().meta({ description: 'Error code in upper case', example: 'AGENT_NOT_FOUND' }),
    details: z.record(z.string(), z.unknown()),
    detail: z.union([z.string(), z.array(pydanticIssueSchema)]),
  })
  .meta({ id: 'DexError' });
export type DexError = z.infer<typeof dexErrorSchema>;
