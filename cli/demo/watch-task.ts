/** Waits for a task to change: events ring the bell, the row is the truth. */

import type { ApiClient } from '../../client/api-client.ts';
import { streamEventsRoute } from '../../contracts/event-routes.ts';
import { getTaskRoute } from '../../contracts/task-routes.ts';
import type { TaskView } from '../../contracts/tasks.ts';
import { CommandError } from '../exit-codes.ts';

/** The row is read again after this long without an event: a bell may stay silent. */
const BACKSTOP_MS = 1_000;

export interface TaskWatch {
  /** The task as soon as `isEnough` holds. @throws CommandError with its state after `timeoutMs` */
  until(isEnough: (task: TaskView) => boolean, given: { what: string; timeoutMs: number }): Promise<TaskView>;
  close(): Promise<void>;
}

/** @param options.signal gives up every wait */
export function watchTask(api: ApiClient, taskId: string, { signal }: { signal: AbortSignal }): TaskWatch {
  const closing = new AbortController();
  let ring: () => void = () => {};
  const listening = listen().catch(() => {}); // Without events there is the backstop.

  async function listen(): Promise<void> {
    const stream = api.stream(streamEventsRoute, {
      query: { taskId },
      signal: AbortSignal.any([closing.signal, signal]),
      onReady: () => ring(),
    });
    for await (const _event of stream) ring();
  }

  return {
    async until(isEnough, { what, timeoutMs }) {
      const deadline = Date.now() + timeoutMs;
      for (;;) {
        signal.throwIfAborted();
        const rung = new Promise<void>((resolve) => {
          ring = resolve;
        });
        const task = await api.call(getTaskRoute, { params: { taskId }, signal });
        if (isEnough(task)) return task;
        if (Date.now() > deadline) {
          const waiting = task.waitingReason === null ? '' : ` (${task.waitingReason})`;
          const message = `There was no ${what} within ${timeoutMs / 1000} s: the task is ${task.state}${waiting}.`;
          throw new CommandError(message);
        }
        await Promise.race([rung, pause(BACKSTOP_MS, signal)]);
      }
    },
    async close() {
      closing.abort();
      await listening;
    },
  };
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const end = (): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', end);
      resolve();
    };
    const timer = setTimeout(end, ms);
    signal.addEventListener('abort', end);
  });
}
