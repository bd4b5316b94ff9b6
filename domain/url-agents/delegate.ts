/**
 * Handing a part of a task to another installation.
 *
 *  A. Row first: the part is a task of ours, assigned to the agent, before anybody hears of it.
 *  B. The part's id is the same on both sides, so it may be sent again: nothing runs by being told of a task.
 *  C. What comes of it is reported with a token that speaks of this one part only.
 */
import { v4 as randomId } from 'uuid';
import { isProblem, problem } from '../../contracts/errors.ts';
import { createTaskBodySchema, MAX_DEADLINE_MS } from '../../contracts/tasks.ts';
import { delegationWorkflowId } from '../../contracts/workflow-io.ts';
import { type DelegationRow, endSending, findDelegation, insertDelegation } from '../../db/delegations.ts';
import { findTask, findTaskByPublicId, lockTask, type TaskRow, updateTask } from '../../db/tasks.ts';
import type { Actor } from '../deps.ts';
import { engineActor } from '../deps.ts';
import { claimRequest, type RequestKey } from '../idempotency.ts';
import { createToken, hashToken } from '../identity/opaque-tokens.ts';
import { assertCan } from '../policy.ts';
import { createTaskIn } from '../tasks/create.ts';
import { endTaskRow } from '../tasks/end.ts';
import { assertOpen, lockTaskRow } from '../tasks/load.ts';
import { taskAgentTokenName } from '../tasks/task-secrets.ts';
import { transact } from '../transact.ts';
import { askUrlAgent, type UrlAnswer } from './call.ts';
import { delegationTokenName, type UrlAgentDeps } from './deps.ts';
import { storable } from './storable.ts';

/** The other side may take this long to take the task, milliseconds. */
export const DELEGATION_TIMEOUT_MS = 15_000;

export interface Delegation {
  agentId: string;
  agentToken?: string | undefined;
  description: string;
  priority: string;
  /** Where this installation is reached. */
  publicUrl: string;
}

/** Ids of the part. */
export interface DelegatedPart {
  taskId: string;
  publicId: string;
}

/** @throws forbidden, parent_task_not_found, task_not_open, agent_not_found, agent_revoked, conflict, idempotency_conflict */
export async function delegateTask(
  deps: UrlAgentDeps,
  actor: Actor,
  parentId: string,
  wish: Delegation,
  requestKey: RequestKey | null,
): Promise<DelegatedPart> {
  assertCan(actor.principal, 'assign', 'task');
  return transact(deps, async (unit) => {
    const parent = await lockTaskRow(unit, actor, parentId, 'assign').catch((error: unknown) => {
      if (isProblem(error, 'task_not_found')) throw problem('parent_task_not_found', { taskId: parentId });
      throw error;
    });
    const publicId = `sub-${randomId()}`;
    const made = await claimRequest(unit.trx, actor.principal, requestKey, 'task.delegate', publicId);
    if (made !== undefined) {
      const earlier = await findTaskByPublicId(unit.trx, made);
      if (earlier === undefined) throw problem('parent_task_not_found', { taskId: parentId });
      return { taskId: earlier.id, publicId: earlier.publicId };
    }
    assertOpen(parent);
    const body = createTaskBodySchema.omit({ priority: true }).parse({
      goal: wish.description,
      mode: 'manual',
      parentTaskId: parent.publicId,
      deadlineMs: MAX_DEADLINE_MS,
      target: { agentId: wish.agentId },
    });
    const { task } = await createTaskIn(
      unit,
      deps,
      actor,
      { ...body, priority: 'medium' },
      {
        publicId,
        idempotencyKey: null,
        details: { title: '', priority: wish.priority, agentToken: wish.agentToken },
      },
    ); // A
    const token = createToken('callback');
    await insertDelegation(unit.trx, {
      taskId: task.id,
      parentId: parent.id,
      agentId: wish.agentId,
      callbackUrl: `${wish.publicUrl.replace(/\/+$/, '')}/tasks/${encodeURIComponent(parent.publicId)}/subtask-callback`,
      callbackTokenHash: hashToken(token),
      sealedCallbackToken: deps.secrets.seal(delegationTokenName(task.id), token),
    });
    unit.audit(actor, {
      action: 'task.delegate',
      targetKind: 'task',
      targetId: parent.publicId,
      details: { part: publicId, agentId: wish.agentId },
    });
    unit.outbox({
      workflowId: delegationWorkflowId(task.id),
      kind: 'start_delegation',
      payload: { input: { taskId: task.id } },
    });
    return { taskId: task.id, publicId };
  });
}

/** The other side's answer; undefined while there is none. @throws delegation_failed */
export async function findDelegationAnswer(
  { db }: Pick<UrlAgentDeps, 'db'>,
  part: DelegatedPart,
): Promise<{ response: unknown } | undefined> {
  const row = await findDelegation(db, part.taskId);
  if (row?.state === 'failed') {
    const details = { details: row.failure, subtask_id: part.publicId };
    throw problem('delegation_failed', {}, { details });
  }
  return row?.state === 'accepted' ? { response: row.response } : undefined;
}

/** Tell the other side (B); the body of an activity. */
export async function sendDelegation(deps: UrlAgentDeps, taskId: string, signal: AbortSignal): Promise<void> {
  const row = await findDelegation(deps.db, taskId);
  if (row?.state !== 'sending' || row.sealedCallbackToken === null) return;
  const part = await findTask(deps.db, taskId);
  const told: UrlAnswer =
    part === undefined || isOver(part)
      ? { kind: 'unreached', reason: 'the part has ended' }
      : await tell(deps, row, part, row.sealedCallbackToken, signal);
  signal.throwIfAborted();
  const refusal =
    told.kind === 'answered'
      ? null
      : told.kind === 'refused'
        ? `it said ${told.status}: ${told.message}`
        : told.reason;
  await transact(deps, async (unit) => {
    const task = await lockTask(unit.trx, taskId);
    // Who speaks of the part has taken it, whatever became of the answer.
    const isTaken = ((await findDelegation(unit.trx, taskId))?.reportedAt ?? null) !== null;
    const failure = isTaken ? null : refusal;
    const state = failure === null ? 'accepted' : 'failed';
    const response = told.kind === 'answered' ? storable(told.data) : undefined;
    const isEnded = await endSending(unit.trx, taskId, { state, response, failure });
    if (!isEnded || task === undefined) return;
    unit.emit('task.updated', { taskId, ownerId: task.creatorId, data: { delegation: state } });
    // Whoever has gone on with it meanwhile, here or by a report, is further than that.
    if (failure === null && task.state === 'created')
      await updateTask(unit.trx, taskId, { state: 'assigned' });
    if (failure !== null && !isOver(task)) {
      await endTaskRow(unit, engineActor, task, 'failed', {
        success: false,
        summary: failure.slice(0, 500).toWellFormed(),
        reason: 'delegation_failed',
      });
      unit.signal(`task/${task.id}/${task.runNo}`, { name: 'ended', arg: { end: 'failed' } });
    }
  });
}

/** It has ended, or will when what it runs has. */
const isOver = ({ endedAt, cancelRequestedAt }: Pick<TaskRow, 'endedAt' | 'cancelRequestedAt'>): boolean =>
  endedAt !== null || cancelRequestedAt !== null;

async function tell(
  deps: UrlAgentDeps,
  row: DelegationRow,
  task: TaskRow,
  sealedToken: string,
  signal: AbortSignal,
): Promise<UrlAnswer> {
  const { sealedAgentToken: sealed } = task;
  return askUrlAgent(deps, row.agentId, {
    method: 'POST',
    path: '/tasks',
    body: {
      id: task.publicId,
      description: task.goal,
      parent_task_id: task.parentTaskId,
      priority: task.priority,
      callback_url: row.callbackUrl,
      callback_token: deps.secrets.open(delegationTokenName(row.taskId), sealedToken),
    },
    timeoutMs: DELEGATION_TIMEOUT_MS,
    idempotencyKey: `delegate-${row.taskId}`,
    token: sealed === null ? undefined : deps.secrets.open(taskAgentTokenName(row.taskId), sealed),
    signal,
  });
}
