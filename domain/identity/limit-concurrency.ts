/** Runs at most `maxRunning` jobs at once and lets at most `maxWaiting` wait; more are refused at once. */
import { problem } from '../../contracts/errors.ts';

export type Limiter = <T>(job: () => Promise<T>) => Promise<T>;

/** Who finds the queue full is asked to come back after this long, seconds. */
export const FULL_QUEUE_RETRY_AFTER_S = 5;

/** The returned function throws `service_unavailable` with a Retry-After when the queue is full. */
export function createLimiter(options: { maxRunning: number; maxWaiting: number }): Limiter {
  const waiting: (() => void)[] = [];
  let running = 0;

  return async (job) => {
    if (running >= options.maxRunning) {
      if (waiting.length >= options.maxWaiting) {
        const headers = { 'Retry-After': String(FULL_QUEUE_RETRY_AFTER_S) };
        throw problem('service_unavailable', {}, { headers });
      }
      // The job that ends hands its place over, so `running` stays as it is.
      await new Promise<void>((resolve) => waiting.push(resolve));
    } else {
      running++;
    }
    try {
      return await job();
    } finally {
      const next = waiting.shift();
      if (next) next();
      else running--;
    }
  };
}
