/** One small question to the provider: do address, key and model work? */
import { type AnthropicAddress, createAnthropicClient } from './anthropic-client.ts';
import { withDeadline } from './anthropic-message.ts';
import { LlmError } from './port.ts';

/** Time the whole exchange may take, milliseconds. */
const TIMEOUT_MS = 20_000;
/** Tokens of the answer; what it says does not matter. */
const MAX_TOKENS = 16;

export interface ModelCheck extends AnthropicAddress {
  model: string;
}

/**
 * Resolves with the name of the model that answered.
 * @throws LlmError, or the reason of the signal when it was aborted
 */
export async function checkModel(check: ModelCheck, signal: AbortSignal): Promise<string> {
  signal.throwIfAborted();
  const client = createAnthropicClient(check, TIMEOUT_MS);
  const call = { timeoutMs: TIMEOUT_MS, apiKey: check.apiKey };
  const message = await withDeadline(signal, call, (callSignal) =>
    client.messages.create(
      {
        model: check.model,
        max_tokens: MAX_TOKENS,
        messages: [{ role: 'user', content: 'Answer with the word OK.' }],
      },
      { signal: callSignal },
    ),
  );
  if (!Array.isArray(message?.content)) throw new LlmError('llm_bad_answer', 'the answer is not a message');
  return typeof message.model === 'string' ? message.model : check.model;
}
