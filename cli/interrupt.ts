/** Ctrl-C and the other requests to stop: the first asks for an orderly end, the second leaves at once. */
import { exitCodes } from './exit-codes.ts';

/** npm passes Ctrl-C on to what it runs, so one press may arrive twice; within this time it is one press. */
const SAME_PRESS_MS = 1_000;

export interface Interrupt {
  /** Aborted at the first request. */
  readonly signal: AbortSignal;
  /** Resolves at the first request. */
  readonly requested: Promise<void>;
}

/** Listens for as long as the process lives. */
export function listenForInterrupt(on: { first: () => void; second: () => void }): Interrupt {
  const controller = new AbortController();
  let firstAt: number | null = null;
  const requested = new Promise<void>((resolve) => {
    const onSignal = (): void => {
      if (firstAt === null) {
        firstAt = Date.now();
        on.first();
        controller.abort();
        resolve();
      } else if (Date.now() - firstAt > SAME_PRESS_MS) {
        on.second();
        process.exit(exitCodes.interrupted);
      }
    };
    for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(name, onSignal);
  });
  return { signal: controller.signal, requested };
}
