/** The one place that maps errors to `ApplicationFailure`: type = code, retryable by the error's own table. */
import { ApplicationFailure } from '@temporalio/common';
import { SteelthreadError } from '../contracts/errors.ts';
import { LlmError } from '../llm/port.ts';

/**
 * Codes and short sentences only: SQL, bindings and stack traces of a surprise stay out of the history, so its
 * cause is not attached and the message is replaced.
 */
export function toApplicationFailure(error: unknown): ApplicationFailure {
  if (error instanceof ApplicationFailure) return error;
  if (error instanceof LlmError) {
    return ApplicationFailure.create({
      type: error.code,
      message: error.message,
      nonRetryable: !error.retryable,
      ...(error.retryAfterMs === undefined ? {} : { nextRetryDelay: error.retryAfterMs }),
    });
  }
  if (error instanceof SteelthreadError) {
    return ApplicationFailure.create({
      type: error.code,
      message: error.message,
      nonRetryable: !error.retryable,
    });
  }
  // A database that is away, a bug: worth another attempt, because a task outlives both.
  return ApplicationFailure.create({
    type: 'internal_error',
    message: 'internal error',
    nonRetryable: false,
  });
}
