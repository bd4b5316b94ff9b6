/** Wait for a batch that is yet to be made: what ends while it is being made is remembered. */
import type { FinishedBatch } from '../../domain/deps.ts';
import type { Hub } from './hub.ts';
import { waitFor } from './wait.ts';

export interface BatchWatch {
  /** Resolves true when the batch is finished, false when the time is over or the signal aborts. */
  wait(
    batchId: string,
    options: {
      /** Made after the watch began: what it has not heard of is not finished. */
      isNew: boolean;
      read(): Promise<boolean>;
      timeoutMs: number;
      signal?: AbortSignal;
    },
  ): Promise<boolean>;
  /** The rows of a finished batch, where they were written by this process and are whole. */
  rowsOf(batchId: string): FinishedBatch | undefined;
  stop(): void;
}

export function watchBatches(hub: Pick<Hub, 'subscribe' | 'subscribeBatches'>): BatchWatch {
  const finished = new Set<string>();
  const rows = new Map<string, FinishedBatch>();
  const stopRows = hub.subscribeBatches((one) => void rows.set(one.batch.id, one));
  const stopEvents = hub.subscribe(({ row }) => {
    if (row.type === 'batch.finished' && row.batchId !== null) finished.add(row.batchId);
  });
  return {
    rowsOf: (batchId) => rows.get(batchId),
    stop() {
      stopEvents();
      stopRows();
    },
    async wait(batchId, { isNew, read, timeoutMs, signal }) {
      let looks = 0;
      const value = await waitFor(hub, {
        concerns: ({ row }) => row.type === 'batch.finished' && row.batchId === batchId,
        read: async () => {
          looks += 1;
          if (finished.has(batchId)) return true;
          if (isNew && looks === 1) return undefined;
          return (await read()) || undefined;
        },
        timeoutMs,
        ...(signal === undefined ? {} : { signal }),
      });
      return value === true;
    },
  };
}
