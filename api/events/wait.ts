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
  hub: Hub,
  options: {
    concerns(event: HubEvent): boolean;
    read(): Promise<T | undefined>;
    timeoutMs: number;
    signal?: AbortSignal;
  },
): Promise<T | undefined> {
  let wake: () => void = () => {};
  let woken = false;
  const ring = (): void => {
    woken = true;
    wake();
  };
  // Subscribe first, read after: what commits in between wakes us.
  const unsubscribe = hub.subscribe((event) => {
    if (options.concerns(event)) ring();
  });
  const poll = setInterval(ring, WAIT_POLL_MS);
  options.signal?.addEventListener('abort', ring, { once: true });
  const deadline = Date.now() + options.timeoutMs;
  const timer = setTimeout(ring, options.timeoutMs);
  try {
    for (;;) {
      woken = false;
      const value = await options.read();
      if (value !== undefined || options.signal?.aborted || Date.now() >= deadline) return value;
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
    options.signal?.removeEventListener('abort', ring);
  }
}
