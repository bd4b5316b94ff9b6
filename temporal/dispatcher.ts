/**
 * Carries outbox rows to Temporal.
 *
 *  A. A row is deleted only after Temporal has taken it, so it may be delivered twice (two processes, a crash
 *     between), never zero times: starts are refused as duplicates, workflows ignore signals they have heard.
 *  B. The drainer sends the rows of one workflow in order: a row waits for every older row of its workflow. The delivery
 *     right after a commit does not ask for older rows; a signal may overtake another (workflows key them by step and
 *     batch), and one that comes before its workflow's start finds nobody and is left for the drainer.
 *  C. A signal to a workflow that is closed or unknown, with no start pending (B), can never arrive: it is dropped.
 *     What it says is in the rows; if the task is still open, the reconciler ends it.
 */
import type { RolloutWorkflowInput } from '../contracts/rollout-workflow.ts';
import type { WebhookWorkflowInput } from '../contracts/webhook-workflow.ts';
import type {
  DelegationWorkflowInput,
  DeliverWorkflowInput,
  TaskWorkflowInput,
  WorkflowSignal,
} from '../contracts/workflow-io.ts';
import type { TemporalClient } from './connection.ts';
import { failureKind } from './failures.ts';
import { signalWorkflow, startWorkflow } from './workflows.ts';

/** The delivery that follows a commit may take this long in all, milliseconds; after that the drainer has it. */
export const IMMEDIATE_DEADLINE_MS = 1_000;
/** Deadline of one call of the drainer, milliseconds. */
const DRAIN_DEADLINE_MS = 10_000;
/** Workflows that are spoken to at the same time. The server is the bottleneck, more would only queue there. */
const MAX_PARALLEL = 16;
/** Rows of one round of the drainer. */
const DRAIN_BATCH = 200;
/** Pause before a row's next attempt: doubling from the first, by half of it at random. Milliseconds. */
const FIRST_RETRY_MS = 500;
const MAX_RETRY_AWAY_MS = 5_000;
const MAX_RETRY_REFUSED_MS = 5 * 60_000;

interface Log {
  debug(fields: { event: string; [field: string]: unknown }): void;
  warn(fields: { event: string; [field: string]: unknown }): void;
}

export interface OutboxItem {
  id: number;
  workflowId: string;
  kind: 'start_task' | 'signal' | 'start_delivery' | 'start_rollout' | 'start_webhook' | 'start_delegation';
  /** `start_task`, `start_rollout`: {input, title}; `start_delivery`, `start_webhook`, `start_delegation`: {input}; `signal`: a WorkflowSignal. */
  payload: Record<string, unknown>;
  attempts: number;
}

/** The table, as much of it as is needed here. */
export interface OutboxStore {
  /** Due rows, oldest first, only the first of each workflow; without fresh ones that were not tried yet. */
  listDue(limit: number, minAgeMs: number): Promise<OutboxItem[]>;
  remove(ids: readonly number[]): Promise<void>;
  /** Remove a `start_task` or `start_rollout` and keep the namespace's id on its row, for the reconciler. */
  removeStart(id: number, started: Started & { namespaceId: string }): Promise<void>;
  postpone(id: number, error: string, retryAfterMs: number): Promise<void>;
}

/** What a start was for. */
export type Started = { taskId: string } | { rolloutId: string };

export interface DispatcherDeps {
  outbox: OutboxStore;
  temporal: TemporalClient;
  /** Queue of the workflows. */
  taskQueue: string;
  log: Log;
}

export interface OutboxDispatcher {
  /** Right after the commit: try once, within a second. Never throws; what fails stays for `drain`. @returns delivered */
  deliver(rows: readonly OutboxItem[]): Promise<number>;
  /**
   * Deliver what is due until nothing is. Stops early when Temporal is away or `signal` aborts.
   * @param options.minAgeMs leaves rows to the delivery right after their commit for this long; default 0
   * @returns delivered
   */
  drain(signal?: AbortSignal, options?: { minAgeMs: number }): Promise<number>;
}

export function createOutboxDispatcher(deps: DispatcherDeps): OutboxDispatcher {
  const { outbox, temporal, log } = deps;

  async function deliver(rows: readonly OutboxItem[]): Promise<number> {
    if (!temporal.ready()) return 0;
    const deadlineAt = Date.now() + IMMEDIATE_DEADLINE_MS;
    const counts = await mapLimited(groupByWorkflow(rows), MAX_PARALLEL, async (queue) => {
      let delivered = 0;
      for (const row of queue) {
        const leftMs = deadlineAt - Date.now();
        if (leftMs <= 0) break;
        try {
          await send(row, leftMs, 'leave');
          delivered++;
        } catch (error) {
          log.debug({
            event: 'outbox_left_for_drainer',
            outboxId: row.id,
            workflowId: row.workflowId,
            error,
          });
          await leave(row, error);
          break;
        }
      }
      return delivered;
    });
    return sum(counts);
  }

  async function drain(signal?: AbortSignal, { minAgeMs } = { minAgeMs: 0 }): Promise<number> {
    let total = 0;
    while (temporal.ready() && !signal?.aborted) {
      const due = await outbox.listDue(DRAIN_BATCH, minAgeMs);
      if (due.length === 0) break;
      const counts = await mapLimited(due, MAX_PARALLEL, async (row) => {
        if (!temporal.ready() || signal?.aborted) return 0;
        try {
          await send(row, DRAIN_DEADLINE_MS, 'drop');
          return 1;
        } catch (error) {
          await postpone(row, error);
          return 0;
        }
      });
      total += sum(counts);
    }
    return total;
  }

  async function send(row: OutboxItem, deadlineMs: number, unknown: 'leave' | 'drop'): Promise<void> {
    const { workflowId } = row;
    if (row.kind === 'signal') {
      await sendSignal(row, deadlineMs, unknown);
    } else if (row.kind === 'start_task') {
      const { input, title } = row.payload as unknown as { input: TaskWorkflowInput; title: string };
      const start = { type: 'task', input, title } as const;
      await startWorkflow(temporal, { workflowId, taskQueue: deps.taskQueue, start, deadlineMs });
    } else if (row.kind === 'start_rollout') {
      const { input, title } = row.payload as unknown as { input: RolloutWorkflowInput; title: string };
      const start = { type: 'rollout', input, title } as const;
      await startWorkflow(temporal, { workflowId, taskQueue: deps.taskQueue, start, deadlineMs });
    } else if (row.kind === 'start_webhook') {
      const { input } = row.payload as unknown as { input: WebhookWorkflowInput };
      const start = { type: 'webhookDelivery', input } as const;
      await startWorkflow(temporal, { workflowId, taskQueue: deps.taskQueue, start, deadlineMs });
    } else if (row.kind === 'start_delegation') {
      const { input } = row.payload as unknown as { input: DelegationWorkflowInput };
      const start = { type: 'delegation', input } as const;
      await startWorkflow(temporal, { workflowId, taskQueue: deps.taskQueue, start, deadlineMs });
    } else {
      const { input } = row.payload as unknown as { input: DeliverWorkflowInput };
      const start = { type: 'deliver', input } as const;
      await startWorkflow(temporal, { workflowId, taskQueue: deps.taskQueue, start, deadlineMs });
    }
    if (row.kind === 'start_task' || row.kind === 'start_rollout')
      await removeStart(row); // A
    else await outbox.remove([row.id]);
  }

  async function sendSignal(row: OutboxItem, deadlineMs: number, unknown: 'leave' | 'drop'): Promise<void> {
    const signal = row.payload as unknown as WorkflowSignal;
    try {
      await signalWorkflow(temporal, { workflowId: row.workflowId, signal, deadlineMs });
    } catch (error) {
      if (failureKind(error) !== 'not_found' || unknown === 'leave') throw error;
      const { workflowId } = row;
      log.warn({ event: 'outbox_signal_dropped', outboxId: row.id, workflowId, signal: signal.name }); // C
    }
  }

  async function removeStart(row: OutboxItem): Promise<void> {
    const { input } = row.payload as unknown as { input: Started };
    const started = 'taskId' in input ? { taskId: input.taskId } : { rolloutId: input.rolloutId };
    const namespaceId = await temporal.namespaceId().catch((error: unknown) => {
      // The reconciler mends it.
      log.warn({ event: 'outbox_namespace_not_noted', ...started, err: error });
      return undefined;
    });
    if (namespaceId === undefined) await outbox.remove([row.id]);
    else await outbox.removeStart(row.id, { ...started, namespaceId });
  }

  /** Makes a fresh row the drainer's at once. Without it the drainer takes the row when it is no longer fresh. */
  async function leave(row: OutboxItem, error: unknown): Promise<void> {
    await outbox.postpone(row.id, messageOf(error), 0).catch(() => undefined);
  }

  async function postpone(row: OutboxItem, error: unknown): Promise<void> {
    const isAway = failureKind(error) === 'away';
    const maxMs = isAway ? MAX_RETRY_AWAY_MS : MAX_RETRY_REFUSED_MS;
    const baseMs = Math.min(FIRST_RETRY_MS * 2 ** Math.min(row.attempts, 20), maxMs);
    const retryAfterMs = baseMs * (0.5 + Math.random() / 2);
    if (!isAway) {
      const { id, workflowId, kind, attempts } = row;
      log.warn({
        event: 'outbox_refused',
        outboxId: id,
        workflowId,
        kind,
        attempts,
        retryAfterMs,
        err: error,
      });
    }
    await outbox.postpone(row.id, messageOf(error), retryAfterMs);
  }

  return { deliver, drain };
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

const sum = (counts: readonly number[]): number => counts.reduce((total, count) => total + count, 0);

/** Rows of each workflow in the given order. */
function groupByWorkflow(rows: readonly OutboxItem[]): OutboxItem[][] {
  const queues = new Map<string, OutboxItem[]>();
  for (const row of rows) queues.set(row.workflowId, [...(queues.get(row.workflowId) ?? []), row]);
  return [...queues.values()];
}

/** `Promise.all` with at most `limit` at work. */
async function mapLimited<T, R>(
  items: readonly T[],
  limit: number,
  work: (item: T) => Promise<R>,
): Promise<R[]> {
  const results: R[] = [];
  const entries = items.entries();
  const lane = async () => {
    for (const [index, item] of entries) results[index] = await work(item);
  };
  await Promise.all(Array.from({ length: Math.min(limit, items.length) }, lane));
  return results;
}
