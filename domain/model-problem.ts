/** What a client learns of a failed call to the language model: that it cannot be had, or that its budget is used up. */
import { type ErrorCode, isProblem, problem } from '../contracts/errors.ts';
import { LlmError } from '../llm/port.ts';

/** What a call to the model fails with, as clients read it. */
const modelProblemCodes = [
  'budget_exceeded',
  'model_unavailable',
  'model_not_configured',
  'answer_broken_off',
] as const satisfies readonly ErrorCode[];

/**
 * The error of the table that stands for `error`; what is no `LlmError` comes back as it is. What went wrong between us
 * and the provider is the cause, which is logged and never sent.
 * @param code for everything but a used up budget
 */
export function toModelProblem(
  error: unknown,
  code: 'model_unavailable' | 'answer_broken_off' = 'model_unavailable',
): unknown {
  if (!(error instanceof LlmError)) return error;
  const { budget: scope, retryAfterMs } = error;
  if (error.code === 'llm_budget_exceeded') {
    return problem('budget_exceeded', { scope: scope ?? 'day' }, { cause: error });
  }
  const headers: Record<string, string> = {};
  if (retryAfterMs !== undefined)
    headers['Retry-After'] = String(Math.max(1, Math.ceil(retryAfterMs / 1000)));
  return problem(code, {}, { cause: error, headers });
}

/** Is it the model, and nothing else, that failed? */
export const isModelProblem = (error: unknown): error is Error =>
  modelProblemCodes.some((code) => isProblem(error, code));
