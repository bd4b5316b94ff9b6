import { z } from 'zod';

const resultsSchema = z.array(
  z.object({
    tool: z.string(),
    success: z.boolean(),
    output: z.unknown(),
    error: z.string().nullable(),
  }),
);

/** The results of tools as text, a paragraph each: what stands where a command has its output. */
export function toolRunText(results: unknown): string {
  const parsed = resultsSchema.safeParse(results);
  if (!parsed.success) return '';
  return parsed.data
    .map(({ tool, success, output, error }) => {
      const lines = [`Tool '${tool}': ${success ? 'success' : 'error'}`];
      if (output !== null && output !== undefined) {
        lines.push(`Output: ${typeof output === 'string' ? output : JSON.stringify(output)}`);
      }
      if (error !== null) lines.push(`Error: ${error}`);
      return lines.join('\n');
    })
    .join('\n\n');
}
