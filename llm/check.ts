/** One small question to the provider: do address, key and model work? */
import { createAnthropicClient } from './anthropic-client.ts';
import { mapAnthropicError } from './anthropic-errors.ts';
import { LlmError } from './port.ts';

/** Time the whole exchange may take, milliseconds. */
const TIMEOUT_MS = 20_000;
/** Tokens of the answer; what it says does not matter. */
const MAX_TOKENS = 16;

export interface ModelCheck {
  apiKey: string;
  model: string;
  baseUrl: string;
}

/**
 * Resolves with the name of the model that answered.
 * @throws LlmError, or the reason of the signal when it was aborted
 */
export async function checkModel(check: ModelCheck, signal: AbortSignal): Promise<string> {
  signal.throwIfAborted();
  const client = createAnthropicClient(check, TIMEOUT_MS);
  // Over the whole exchange: the SDK's own timeout ends with the response headers.
  const deadline = AbortSignal.timeout(TIMEOUT_MS);
  try {
    const message = await client.messages.create(
      {
        model: check.model,
        max_tokens: MAX_TOKENS,
        messages: [{ role: 'user', content: 'Answer with the word OK.' }],
      },
      { signal: AbortSignal.any([signal, deadline]) },
    );
    if (!Array.isArray(message?.content)) throw new LlmError('llm_bad_answer', 'the answer is not a message');
    return typeof message.model === 'string' ? message.model : check.model;
  } catch (error) {
    signal.throwIfAborted();
    if (deadline.aborted) {
      throw new LlmError('llm_timeout', `the model did not answer within ${TIMEOUT_MS} ms`, { cause: error });
    }
    throw mapAnthropicError(error, TIMEOUT_MS, check.apiKey);
  }
}
