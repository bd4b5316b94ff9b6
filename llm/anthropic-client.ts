import Anthropic from '@anthropic-ai/sdk';

export interface AnthropicAddress {
  apiKey: string;
  baseUrl: string;
}

/**
 * The SDK with every value given that it would otherwise look up in the environment (configuration has one reader), and
 * without retries of its own: whoever calls decides, so that attempts are counted in one place.
 *
 * @param timeoutMs until the response headers; the SDK does not watch the body
 */
export function createAnthropicClient({ apiKey, baseUrl }: AnthropicAddress, timeoutMs: number): Anthropic {
  return new Anthropic({
    apiKey,
    authToken: null,
    webhookKey: null,
    baseURL: baseUrl,
    logLevel: 'off',
    maxRetries: 0,
    timeout: timeoutMs,
  });
}
