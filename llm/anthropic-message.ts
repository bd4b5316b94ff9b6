/** What every call for a whole message (no stream) shares: the deadline over it, and what it has cost. */
import type Anthropic from '@anthropic-ai/sdk';
import { mapAnthropicError } from './anthropic-errors.ts';
import { LlmError, type Usage } from './port.ts';
import { type ModelPrice, priceUsage } from './prices.ts';

/**
 * Runs a call under the caller's signal and a deadline over the entire exchange. The SDK's own timeout ends with
 * the response headers, so a body that never ends would hang without this.
 * @throws LlmError, or the reason of the signal when that was aborted
 */
export async function withDeadline<Result>(
  signal: AbortSignal,
  { timeoutMs, apiKey }: { timeoutMs: number; apiKey: string },
  call: (signal: AbortSignal) => Promise<Result>,
): Promise<Result> {
  const deadline = new AbortController();
  const timer = setTimeout(() => deadline.abort(), timeoutMs);
  try {
    return await call(AbortSignal.any([signal, deadline.signal]));
  } catch (error) {
    signal.throwIfAborted();
    if (deadline.signal.aborted) {
      throw new LlmError('llm_timeout', `the model did not answer within ${timeoutMs} ms`, { cause: error });
    }
    throw mapAnthropicError(error, timeoutMs, apiKey);
  } finally {
    clearTimeout(timer);
  }
}

/** What the message says it has used; nothing in it is trusted to be there. */
export function usageOfMessage(
  message: Anthropic.Message,
  configuredModel: string,
  prices: readonly ModelPrice[],
): Usage {
  const tokens: Partial<Anthropic.Usage> = message?.usage ?? {};
  const input =
    count(tokens.input_tokens) +
    count(tokens.cache_creation_input_tokens) +
    count(tokens.cache_read_input_tokens);
  const answeredBy = typeof message?.model === 'string' ? message.model : configuredModel;
  return priceUsage(answeredBy, { input, output: count(tokens.output_tokens) }, prices);
}

function count(tokens: unknown): number {
  return typeof tokens === 'number' && Number.isFinite(tokens) && tokens > 0 ? tokens : 0;
}

/** What does not fit a schema, in one line. */
export function issuesText(error: { issues: readonly { path: PropertyKey[]; message: string }[] }): string {
  return error.issues.map((issue) => `${issue.path.join('.') || 'input'}: ${issue.message}`).join('; ');
}
