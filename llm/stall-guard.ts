/**
 * The clock of one streamed call: ends it when the caller aborts, when the other side is silent for too long, or when it
 * takes too long in all. Silence counts only while somebody waits for the other side: a slow reader is no stall.
 */
import { LlmError } from './port.ts';

export interface StallTimes {
  /** Until the first event, milliseconds. */
  firstEventMs: number;
  /** Between two events, milliseconds. */
  idleMs: number;
  /** For the whole answer, milliseconds. */
  answerMs: number;
}

export interface StallGuard {
  /** For the call: aborted for any of the reasons. */
  signal: AbortSignal;
  /** Wait for the other side. */
  wait<Result>(next: () => Promise<Result>): Promise<Result>;
  /** The first event is here. */
  begin(): void;
  /** Why this guard ended the call; undefined when it did not, or the caller did. */
  stalled(): LlmError | undefined;
  /** Ends the call if it has not ended. Idempotent. */
  close(): void;
}

export function createStallGuard(
  caller: AbortSignal,
  { firstEventMs, idleMs, answerMs }: StallTimes,
): StallGuard {
  const call = new AbortController();
  let why: LlmError | undefined;
  let isWaiting = false;
  let hasBegun = false;

  const timeOut = (message: string): void => {
    why ??= new LlmError('llm_timeout', message);
    call.abort();
  };
  const first = setTimeout(
    () => timeOut(`the model did not begin to answer within ${firstEventMs} ms`),
    firstEventMs,
  );
  const idle = setTimeout(() => {
    if (hasBegun && isWaiting) timeOut(`the model said nothing for ${idleMs} ms`);
  }, idleMs);
  const whole = setTimeout(() => timeOut(`the model was not done within ${answerMs} ms`), answerMs);
  const abort = (): void => call.abort(caller.reason);
  caller.addEventListener('abort', abort, { once: true });
  if (caller.aborted) abort();

  return {
    signal: call.signal,
    async wait(next) {
      call.signal.throwIfAborted();
      isWaiting = true;
      idle.refresh();
      try {
        const result = await next();
        call.signal.throwIfAborted();
        return result;
      } finally {
        isWaiting = false;
      }
    },
    begin() {
      hasBegun = true;
      clearTimeout(first);
    },
    stalled: () => why,
    close() {
      for (const timer of [first, idle, whole]) clearTimeout(timer);
      caller.removeEventListener('abort', abort);
      call.abort();
    },
  };
}
