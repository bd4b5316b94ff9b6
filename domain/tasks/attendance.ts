/**
 * Waiting, in this process, for batches that it has just sent out. Most commands are over in a moment; whoever stays
 * for that moment spares the workflow a signal, a timer and a round through the worker.
 *
 *  A. An attended batch has no bell: nobody tells its workflow. Whoever stops attending looks at the row, and hangs
 *     the bell where the batch is still out. When this process dies, whoever reads the step next does it.
 *  B. What is told here is an edge, never the truth: look at the row.
 */

export interface Attendance {
  /** Attend a batch. Call it before the commit that lets the batch go. @returns undefined when all places are taken */
  attend(batchId: string): Attended | undefined;
  /** These batches may be in; `*`: any of them. */
  tell(batchIds: readonly string[] | '*'): void;
}

export interface Attended {
  /** Resolves true once told of the batch, also when that was before the call; false after `timeoutMs` or on abort. */
  heard(timeoutMs: number, signal: AbortSignal): Promise<boolean>;
  /** Give the place back. */
  end(): void;
}

/** @param options.places how many batches are attended at the same time */
export function createAttendance({ places }: { places: number }): Attendance {
  const bells = new Map<string, AbortController>();
  return {
    attend(batchId) {
      if (bells.size >= places || bells.has(batchId)) return undefined;
      const bell = new AbortController();
      bells.set(batchId, bell);
      return {
        heard: (timeoutMs, signal) => isAborted(bell.signal, timeoutMs, signal),
        end: () => void bells.delete(batchId),
      };
    },
    tell(batchIds) {
      const told = batchIds === '*' ? [...bells.values()] : batchIds.map((batchId) => bells.get(batchId));
      for (const bell of told) bell?.abort();
    },
  };
}

/** Does `bell` abort before the time is up and before `signal` does? */
function isAborted(bell: AbortSignal, timeoutMs: number, signal: AbortSignal): Promise<boolean> {
  return new Promise((resolve) => {
    const stop = (): void => {
      clearTimeout(timer);
      bell.removeEventListener('abort', stop);
      signal.removeEventListener('abort', stop);
      resolve(bell.aborted);
    };
    const timer = setTimeout(stop, timeoutMs);
    bell.addEventListener('abort', stop);
    signal.addEventListener('abort', stop);
    if (bell.aborted || signal.aborted) stop();
  });
}
