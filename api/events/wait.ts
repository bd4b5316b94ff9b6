/** Wait until a row has reached a state: woken by the hub, backed by a slow poll, re-read before giving up. */
import type { Hub, HubEvent } from './hub.ts';

/** The backstop poll of a waiter, milliseconds. */
const WAIT_POLL_MS = 5_000;

/**
 * Read until `read` gives a value, at most `timeoutMs`.
 * @param concerns which events are worth another read
 * @returns the value, or undefined when the time is over (after one last read) or the signal aborts
 */
export async function waitFor<T>(
  hub: Pick<Hub, 'subscribe'>,
  options: {
    concerns(event: HubEvent): boolean;
    read(): Promise<T | undefined>;
    timeoutMs: number;
    signal?: AbortSignal;
  },
): Promise<T | undefined> {
  const { concerns, read, timeoutMs, signal } = options;
  let wake: () => void = () => {};
  let woken = false;
  // A flag of the timer itself: a clock that is read beside it may not have got there yet.
  let isOver = timeoutMs <= 0;
  const ring = (): void => {
    woken = true;
    wake();
  };
  const end = (): void => {
    isOver = true;
    ring();
  };
  // Subscribe first, read after: what commits in between wakes us.
  const unsubscribe = hub.subscribe((event) => {
    if (concerns(event)) ring();
  });
  const poll = setInterval(ring, WAIT_POLL_MS);
  const timer = setTimeout(end, timeoutMs);
  signal?.addEventListener('abort', end, { once: true });
  try {
    for (;;) {
      woken = false;
      const isLast = isOver || signal?.aborted === true;
      const value = await read();
      if (value !== undefined || isLast) return value;
      if (!woken) {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    }
  } finally {
    unsubscribe();
    clearInterval(poll);
    clearTimeout(timer);
    signal?.removeEventListener('abort', end);
  }
}
