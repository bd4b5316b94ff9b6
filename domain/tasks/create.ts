/** Create a task: one transaction writes the row, its audit row and the bell that starts its workflow. */
import { v7 as uuidv7 } from 'uuid';
import { MAX_EXPIRY_MS } from '../../contracts/act.ts';
import { problem, type ValidationIssue } from '../../contracts/errors.ts';
import {
  type CreateTaskBody,
  MAX_TITLE_LENGTH,
  type TaskKind,
  type TaskView,
} from '../../contracts/tasks.ts';
import { type TaskWorkflowInput, taskWorkflowId } from '../../contracts/workflow-io.ts';
import { findTask, insertTask, type TaskRow } from '../../db/tasks.ts';
import { getBatchAgents } from '../commands/agents.ts';
import type { Actor, DomainDeps } from '../deps.ts';
import { bodySha256, claimIdempotencyKey } from '../idempotency.ts';
import { assertCan } from '../policy.ts';
import { transact, type Unit } from '../transact.ts';
import { toTaskView } from './view.ts';

/** How long a task's command waits for an offline agent unless the task says otherwise, milliseconds. */
const DEFAULT_TASK_EXPIRY_MS = 24 * 60 * 60 * 1000;

export interface CreateTaskOptions {
  /** A `collab` is a note: it has no workflow. Default `task`. */
  kind?: TaskKind;
  /** Id chosen by the client; ours when absent. */
  publicId?: string;
  idempotencyKey: string | null;
}

/**
 * @returns the task and whether this call made it (false: the same Idempotency-Key made it before).
 * @throws forbidden, not_supported, validation_failed, agent_not_found, agent_revoked, task_exists, idempotency_conflict
 */
export async function createTask(
  deps: DomainDeps,
  actor: Actor,
  body: CreateTaskBody,
  options: CreateTaskOptions,
): Promise<{ task: TaskView; created: boolean }> {
  assertCan(actor.principal, 'create', 'task');
  if (body.preApproved.length > 0) assertCan(actor.principal, 'decide', 'task');
  if (body.callbackUrl !== undefined) throw problem('not_supported', { feature: 'callbackUrl' });
  assertLimits(deps, body);
  const kind = options.kind ?? 'task';
  return transact(deps, async (unit) => {
    const id = uuidv7();
    if (options.idempotencyKey !== null) {
      const claim = await claimIdempotencyKey(unit.trx, {
        principalId: actor.principal.id,
        key: options.idempotencyKey,
        bodySha256: bodySha256({ task: body, ...(kind === 'task' ? {} : { kind }) }),
        resourceKind: 'task',
        resourceId: id,
      });
      if (!claim.claimed) {
        const earlier = await findTask(unit.trx, claim.resourceId);
        if (earlier === undefined) throw problem('task_not_found', { taskId: claim.resourceId });
        return { task: toTaskView(earlier), created: false };
      }
    }
    if ('agentId' in body.target) await getBatchAgents(unit.trx, [body.target.agentId]);
    const publicId = options.publicId ?? id;
    const task = await insertTask(unit.trx, {
      id,
      publicId,
      kind,
      title: body.title ?? titleOf(body.goal),
      goal: body.goal,
      mode: body.mode,
      creatorKind: actor.principal.kind,
      creatorId: actor.principal.id,
      creatorName: actor.principal.name,
      target: body.target,
      // A named agent needs no choosing: the task is assigned from the start.
      agentId: 'agentId' in body.target ? body.target.agentId : null,
      preApproved: body.preApproved,
      maxSteps: body.maxSteps,
      deadlineAt: new Date(Date.now() + body.deadlineMs),
      approvalTimeoutMs: body.approvalTimeoutMs,
      commandTimeoutMs: body.commandTimeoutMs ?? deps.limits.defaultTimeoutMs,
      expiryMs: body.expiryMs ?? DEFAULT_TASK_EXPIRY_MS,
    });
    if (task === undefined) throw problem('task_exists', { taskId: publicId });
    unit.audit(actor, {
      action: 'task.create',
      targetKind: 'task',
      targetId: publicId,
      details: { mode: task.mode, target: task.target, preApproved: task.preApproved.length },
    });
    unit.emit('task.created', {
      taskId: id,
      ownerId: task.creatorId,
      data: { title: task.title, mode: task.mode },
    });
    if (task.agentId !== null) {
      unit.emit('task.assigned', { taskId: id, agentId: task.agentId, ownerId: task.creatorId, data: {} });
    }
    if (kind !== 'collab') startWorkflow(unit, task);
    return { task: toTaskView(task), created: true };
  });
}

/** The bell that starts a run's workflow. */
export function startWorkflow(unit: Unit, task: TaskRow): void {
  const input: TaskWorkflowInput = {
    taskId: task.id,
    runNo: task.runNo,
    mode: task.mode,
    maxSteps: task.maxSteps,
    deadlineAtMs: task.deadlineAt.getTime(),
    approvalTimeoutMs: task.approvalTimeoutMs,
  };
  unit.outbox({
    workflowId: taskWorkflowId(task.id, task.runNo),
    kind: 'start_task',
    payload: { input, title: task.title },
  });
}

function assertLimits(deps: DomainDeps, body: CreateTaskBody): void {
  const issues: ValidationIssue[] = [];
  const check = (field: string, value: number | undefined, max: number): void => {
    if (value === undefined || value <= max) return;
    issues.push({
      in: 'body',
      path: [field],
      message: `must be at most ${max} here`,
      type: 'less_than_equal',
    });
  };
  check('commandTimeoutMs', body.commandTimeoutMs, deps.limits.maxTimeoutMs);
  check('expiryMs', body.expiryMs, MAX_EXPIRY_MS);
  if (issues.length > 0) throw problem('validation_failed', {}, { issues });
}

/** The start of the goal, on one line, cut at a word. */
function titleOf(goal: string): string {
  const line = goal.replace(/\s+/g, ' ').trim();
  if (line.length <= 80) return line.slice(0, MAX_TITLE_LENGTH);
  const cut = line.slice(0, 80);
  return `${cut.slice(0, Math.max(cut.lastIndexOf(' '), 40))}…`;
}
