import { APIConnectionError, APIConnectionTimeoutError, APIError } from '@anthropic-ai/sdk';
import { z } from 'zod';
import { LlmError, type LlmErrorCode } from './port.ts';

/** Longest wait we take from a `retry-after` header, in milliseconds: a broken clock must not stop a task. */
const maxRetryAfterMs = 10 * 60_000;

/** Characters of the provider's own explanation that go into our message. */
const maxProviderTextLength = 300;

/**
 * Maps what the SDK throws to an `LlmError`. Statuses decide, never message texts.
 * 401, 403 → `llm_auth`; 402 and other 4xx → `llm_bad_request`; 408, 504 → `llm_timeout`; 429 → `llm_rate_limited`;
 * 529 → `llm_overloaded`; other 5xx and broken connections → `llm_unavailable`; an unreadable body → `llm_bad_answer`.
 *
 * What the provider (or whoever answers in its place) says may repeat what it was sent: `apiKey` is taken out of it.
 */
export function mapAnthropicError(error: unknown, timeoutMs: number, apiKey: string): LlmError {
  if (error instanceof LlmError) return error;
  if (error instanceof APIConnectionTimeoutError) {
    return new LlmError('llm_timeout', `the model did not answer within ${timeoutMs} ms`, { cause: error });
  }
  if (error instanceof APIConnectionError) {
    return new LlmError('llm_unavailable', 'the connection to the model provider failed', { cause: error });
  }
  if (error instanceof APIError && error.status !== undefined) {
    const code = codeOfStatus(error.status);
    const said = (text: string): string =>
      text.replaceAll(apiKey, '[redacted]').slice(0, maxProviderTextLength);
    const text = said(error.apiMessage ?? '');
    const message = `the model provider answered ${error.status}${text && `: ${text}`}`;
    // Not the error itself: it holds the whole body and all headers.
    const cause = new Error(said(error.message));
    return new LlmError(code, message, { retryAfterMs: readRetryAfterMs(error.headers), cause });
  }
  if (error instanceof SyntaxError) {
    return new LlmError('llm_bad_answer', 'the model provider answered with something that is not JSON', {
      cause: error,
    });
  }
  // What is left is a body that broke off while it was read (fetch throws a TypeError then).
  return new LlmError('llm_unavailable', 'the answer of the model provider broke off', { cause: error });
}

/** Codes of the error kinds that a provider names in the middle of a stream, where no status can be sent any more. */
const codesOfKinds: Readonly<Record<string, LlmErrorCode>> = {
  authentication_error: 'llm_auth',
  permission_error: 'llm_auth',
  invalid_request_error: 'llm_bad_request',
  not_found_error: 'llm_bad_request',
  request_too_large: 'llm_bad_request',
  billing_error: 'llm_bad_request',
  rate_limit_error: 'llm_rate_limited',
  overloaded_error: 'llm_overloaded',
  timeout_error: 'llm_timeout',
};

const errorEvent = z.object({ error: z.object({ type: z.string(), message: z.string().catch('') }) });

/** Maps the `error` event of a stream; `data` as it was sent. A kind we do not know is `llm_unavailable`. */
export function mapErrorEvent(data: string, apiKey: string): LlmError {
  let said: { type: string; message: string } = { type: '', message: '' };
  try {
    said = errorEvent.parse(JSON.parse(data)).error;
  } catch {
    // An error that cannot be read is still one.
  }
  const text = said.message.replaceAll(apiKey, '[redacted]').slice(0, maxProviderTextLength);
  const code = Object.hasOwn(codesOfKinds, said.type) ? codesOfKinds[said.type] : undefined;
  return new LlmError(
    code ?? 'llm_unavailable',
    `the model provider ended its answer with an error${text && `: ${text}`}`,
  );
}

function codeOfStatus(status: number): LlmErrorCode {
  if (status === 401 || status === 403) return 'llm_auth';
  if (status === 408 || status === 504) return 'llm_timeout';
  if (status === 429) return 'llm_rate_limited';
  if (status === 529) return 'llm_overloaded';
  if (status === 409 || status >= 500) return 'llm_unavailable';
  return 'llm_bad_request';
}

/** Reads `retry-after-ms`, or `retry-after` as seconds or as an HTTP date (RFC 9110 section 10.2.3). */
function readRetryAfterMs(headers: Headers | undefined): number | undefined {
  const milliseconds = Number(headers?.get('retry-after-ms') ?? Number.NaN);
  if (milliseconds >= 0) return Math.min(milliseconds, maxRetryAfterMs);
  const text = headers?.get('retry-after');
  if (!text) return undefined;
  const seconds = Number(text);
  const waitMs = Number.isNaN(seconds) ? Date.parse(text) - Date.now() : seconds * 1000;
  return Number.isNaN(waitMs) ? undefined : Math.min(Math.max(0, waitMs), maxRetryAfterMs);
}
