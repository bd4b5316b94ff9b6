/**
 * Ends tasks whose workflow is gone.
 *
 *  A. A workflow is believed gone only by the server that the task was started on: another namespace id means a wiped
 *     or a wrong server, and is only reported.
 *  B. While an outbox row waits for the workflow it is not lost, only not started yet.
 *  C. A reset run has the same workflow id and is open, so it counts as running.
 */
import { lockKeys } from '../../db/lock-keys.ts';
import { hasOutboxRows } from '../../db/outbox.ts';
import type { DomainDeps } from '../../domain/deps.ts';
import { failLostTask, listIdleTasks, setTaskNamespace } from '../../domain/tasks/lost.ts';
import type { TemporalClient } from '../../temporal/connection.ts';
import { findWorkflow } from '../../temporal/workflows.ts';
import { defineDuty } from './duty.ts';

/** A task that moved within this time is not looked at, milliseconds. */
export const IDLE_BEFORE_RECONCILE_MS = 5 * 60_000;
/** Tasks of one round, that is of one second: a slow walk that does not burden the server. */
const TASKS_PER_ROUND = 4;

export interface ReconcilerDeps {
  domain: DomainDeps;
  temporal: TemporalClient;
  /** Default IDLE_BEFORE_RECONCILE_MS. */
  idleMs?: number;
}

export const reconciler = defineDuty<ReconcilerDeps>({
  name: 'reconciler',
  lockKey: lockKeys.duties.reconciler,
  everyMs: 1_000,
  run: (deps) => reconcileTasks(deps),
});

type IdleTask = Awaited<ReturnType<typeof listIdleTasks>>[number];

/** One round. @returns how many tasks were ended as lost */
export async function reconcileTasks(deps: ReconcilerDeps): Promise<number> {
  if (!deps.temporal.ready()) return 0;
  const namespaceId = await deps.temporal.namespaceId();
  const idleMs = deps.idleMs ?? IDLE_BEFORE_RECONCILE_MS;
  const tasks = await listIdleTasks(deps.domain, { idleMs, limit: TASKS_PER_ROUND });
  let lost = 0;
  for (const task of tasks) if (await reconcileTask(deps, task, namespaceId)) lost++;
  return lost;
}

async function reconcileTask(deps: ReconcilerDeps, task: IdleTask, namespaceId: string): Promise<boolean> {
  const { domain, temporal } = deps;
  const { taskId, runNo, workflowId } = task;
  if (task.namespaceId !== null && task.namespaceId !== namespaceId) {
    domain.log.warn({
      event: 'task_of_other_namespace',
      taskId,
      workflowId,
      stored: task.namespaceId,
      namespaceId,
    });
    return false; // A
  }
  if (await hasOutboxRows(domain.db, workflowId)) return false; // B
  const presence = await findWorkflow(temporal, workflowId);
  if (presence === 'running') {
    if (task.namespaceId === null) await setTaskNamespace(domain, { taskId, namespaceId });
    return false; // C
  }
  domain.log.warn({ event: 'task_workflow_lost', taskId, workflowId, presence });
  await failLostTask(domain, { taskId, runNo });
  return true;
}
