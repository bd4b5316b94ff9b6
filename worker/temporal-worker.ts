/**
 * The Temporal worker of this process, for as long as the process lives: when it ends by a fault (the server went away
 * at the wrong moment, the namespace is not there yet) it is made again.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { type NativeConnection, Worker } from '@temporalio/worker';
import type { WorkerActivities } from '../activities/index.ts';
import type { Log } from '../domain/deps.ts';
import type { TemporalOptions } from '../temporal/options.ts';
import { connectNative } from './runtime.ts';

/** Workflow tasks are pure CPU: a few more than cores keep two cores busy, the rest would only wait in memory. */
const MAX_WORKFLOW_TASKS = 20;
/** Activities mostly wait for the model; more than the database pool serves only adds waiting there. */
const MAX_BUSY_ACTIVITIES = 64;
/** So many more may stay for the batch they have sent out: they take a slot and nothing else. */
export const ATTENDED_BATCHES = 64;
/** Long polls kept open. Two per kind keep a local server busy, a far one wants some in flight. */
const WORKFLOW_POLLS = 4;
const ACTIVITY_POLLS = 4;
/** Workflows kept in memory between their tasks (sticky). One takes some tens of kilobytes with shared V8 contexts. */
const MAX_CACHED_WORKFLOWS = 1_000;
/**
 * A workflow task that the process with the workflow in memory does not take within this time goes to any other one:
 * how long the tasks of a worker that was killed stand still, milliseconds. The SDK's default is twice that.
 */
const STICKY_TIMEOUT_MS = 5_000;
/** Activities may finish this long after a stop was asked for; then they are canceled. */
export const SHUTDOWN_GRACE_MS = 10_000;
/** What does not react to the cancel is left behind after this long in all; Temporal retries it elsewhere. */
const SHUTDOWN_FORCE_MS = 15_000;
/** Pause before a worker that failed is made again, milliseconds. */
const RESTART_PAUSE_MS = 1_000;

export interface TemporalWorkerOptions {
  temporal: TemporalOptions;
  taskQueue: string;
  /** File with the workflow bundle. */
  codePath: string;
  activities: WorkerActivities;
  log: Log;
  /** Called each time a worker begins to poll. */
  onPolling?: () => void;
}

export interface TemporalWorker {
  /** Stops polling, lets activities finish, closes the connection. Idempotent. */
  close(): Promise<void>;
  readonly done: Promise<void>;
}

export function startTemporalWorker(options: TemporalWorkerOptions): TemporalWorker {
  const { log } = options;
  const closing = new AbortController();
  let worker: Worker | undefined;

  async function serve(connection: NativeConnection): Promise<void> {
    try {
      worker = await createWorker(connection, options);
      if (closing.signal.aborted) worker.shutdown();
      const running = worker.run();
      options.onPolling?.();
      await running;
    } finally {
      worker = undefined;
      await connection
        .close()
        .catch((error: unknown) => log.warn({ event: 'temporal_close_failed', err: error }));
    }
  }

  async function loop(): Promise<void> {
    while (!closing.signal.aborted) {
      const connection = await connectNative(options.temporal, { log, signal: closing.signal });
      if (connection === undefined) return;
      try {
        await serve(connection);
      } catch (error) {
        log.error({ event: 'temporal_worker_failed', err: error });
        await delay(RESTART_PAUSE_MS, undefined, { signal: closing.signal }).catch(() => undefined);
      }
    }
  }

  const done = loop();
  return {
    done,
    close() {
      if (!closing.signal.aborted) {
        closing.abort();
        if (worker?.getState() === 'RUNNING') worker.shutdown();
      }
      return done;
    },
  };
}

function createWorker(
  connection: NativeConnection,
  { temporal, taskQueue, codePath, activities }: TemporalWorkerOptions,
): Promise<Worker> {
  return Worker.create({
    connection,
    namespace: temporal.namespace,
    taskQueue,
    workflowBundle: { codePath },
    activities,
    maxConcurrentWorkflowTaskExecutions: MAX_WORKFLOW_TASKS,
    maxConcurrentActivityTaskExecutions: MAX_BUSY_ACTIVITIES + ATTENDED_BATCHES,
    maxConcurrentWorkflowTaskPolls: WORKFLOW_POLLS,
    maxConcurrentActivityTaskPolls: ACTIVITY_POLLS,
    maxCachedWorkflows: MAX_CACHED_WORKFLOWS,
    stickyQueueScheduleToStartTimeout: STICKY_TIMEOUT_MS,
    shutdownGraceTime: SHUTDOWN_GRACE_MS,
    shutdownForceTime: SHUTDOWN_FORCE_MS,
  });
}
