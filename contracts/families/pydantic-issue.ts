import { z } from 'zod';

/** One entry of a validation list as FastAPI prints it; clients of two families read it. */
export const pydanticIssueSchema = z
  .object({
    loc: z.array(z.union([z.string(), z.int()])).meta({ example: ['body', 'title'] }),
    msg: z.string(),
    type: z.string(),
  })
  .meta({ id: 'PydanticIssue' });
export type PydanticIssue = z.infer<typeof pydanticIssueSchema>;
