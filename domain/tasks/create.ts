/** Create a task: one transaction writes the row, its audit row and the bell that starts its workflow. */
import { v7 as uuidv7 } from 'uuid';
import { MAX_EXPIRY_MS } from '../../contracts/act.ts';
import { problem, type ValidationIssue } from '../../contracts/errors.ts';
import type { CreateTaskBody, TaskKind, TaskView } from '../../contracts/tasks.ts';
import { findTask, findTaskByPublicId, insertTask, type NewTaskRow, type TaskRow } from '../../db/tasks.ts';
import { getBatchAgents } from '../commands/agents.ts';
import type { Actor, DomainDeps } from '../deps.ts';
import { bodySha256, claimRequest, requestKeyOf } from '../idempotency.ts';
import { assertCan } from '../policy.ts';
import { transact, type Unit } from '../transact.ts';
import { assertCallbackUrl, type CallbackUrlDeps } from '../webhooks/callback.ts';
import { announceBlocked, needDependencies, WAITS_FOR_TASKS } from './dependencies.ts';
import { assertMayLetRun } from './let-run.ts';
import { startWorkflow } from './start.ts';
import { callbackTokenName, type SealingDeps, sealTaskSecret, taskAgentTokenName } from './task-secrets.ts';
import { titleOf, toTaskView } from './view.ts';

/** How long a task's command waits for an offline agent unless the task says otherwise, milliseconds. */
const DEFAULT_TASK_EXPIRY_MS = 24 * 60 * 60 * 1000;

export interface CreateTaskOptions {
  /** A `collab` is a note: it has no workflow. Default `task`. */
  kind?: TaskKind;
  /** Id chosen by the client; ours when absent. The same principal asking for the very same again is answered it. */
  publicId?: string;
  idempotencyKey: string | null;
  /** What families say of a task besides. */
  details?: TaskDetails;
}

export interface TaskDetails extends Pick<NewTaskRow, 'statusLabel' | 'teamId' | 'roleId' | 'templateId'> {
  /** Empty: none was given. */
  title?: string;
  /** In the client's own words, where the house's do not do. */
  priority?: string;
  /** Bearer token for the task's callback address. */
  callbackToken?: string | undefined;
  /** Token for the agent it is created for. */
  agentToken?: string | undefined;
}

export type CreateTaskDeps = DomainDeps & SealingDeps & CallbackUrlDeps;

/**
 * @returns the task and whether this call made it (false: the same Idempotency-Key made it before).
 * @throws forbidden, not_supported, validation_failed, agent_not_found, agent_revoked, task_exists, idempotency_conflict,
 *   missing_dependencies, dependency_cycle_detected
 */
export async function createTask(
  deps: CreateTaskDeps,
  actor: Actor,
  body: CreateTaskBody,
  options: CreateTaskOptions,
): Promise<{ task: TaskView; created: boolean }> {
  const { task, created } = await transact(deps, (unit) => createTaskIn(unit, deps, actor, body, options));
  return { task: toTaskView(task), created };
}

/** As createTask, in a unit of work that does more. */
export async function createTaskIn(
  unit: Unit,
  deps: CreateTaskDeps,
  actor: Actor,
  body: CreateTaskBody,
  options: CreateTaskOptions,
): Promise<{ task: TaskRow; created: boolean }> {
  assertCan(actor.principal, 'create', 'task');
  assertMayLetRun(actor.principal, body);
  if (body.callbackUrl !== undefined) assertCallbackUrl(deps, body.callbackUrl);
  assertLimits(deps, body);
  const { kind = 'task', details = {} } = options;
  const id = uuidv7();
  const made = await claimRequest(
    unit.trx,
    actor.principal,
    requestKeyOf(options, { task: body, ...(kind === 'task' ? {} : { kind }), ...wishOf(options) }),
    'task',
    id,
  );
  const madeTask = made === undefined ? undefined : await findTask(unit.trx, made);
  if (madeTask !== undefined) return { task: madeTask, created: false };
  const publicId = options.publicId ?? id;
  const requestSha256 = options.publicId === undefined ? null : bodySha256({ body, kind, details });
  const isSame = (row: TaskRow): boolean =>
    requestSha256 !== null && row.requestSha256 === requestSha256 && row.creatorId === actor.principal.id;
  if (options.publicId !== undefined) {
    const earlier = await findTaskByPublicId(unit.trx, publicId);
    if (earlier !== undefined && isSame(earlier)) return { task: earlier, created: false };
  }
  // A key that was claimed when the task of this id was there already has made none.
  if (made !== undefined) throw problem('task_not_found', { taskId: made });
  if ('agentId' in body.target) await getBatchAgents(unit.trx, [body.target.agentId]);
  await assertMayBePart(unit, actor, body.parentTaskId);
  const waitsFor = await needDependencies(unit, actor, publicId, body.dependsOn, true);
  const { callbackToken = body.callbackToken, agentToken, ...columns } = details;
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
    ...unlessEmpty(body, waitsFor),
    ...(requestSha256 !== null && { requestSha256 }),
    ...columns,
    ...(callbackToken !== undefined && {
      sealedCallbackToken: sealTaskSecret(deps, callbackTokenName(id), callbackToken),
    }),
    ...(agentToken !== undefined && {
      sealedAgentToken: sealTaskSecret(deps, taskAgentTokenName(id), agentToken),
    }),
  });
  if (task === undefined) {
    const other = await findTaskByPublicId(unit.trx, publicId);
    if (other !== undefined && isSame(other)) return { task: other, created: false };
    throw problem('task_exists', { taskId: publicId });
  }
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
  if (task.parentTaskId !== null) {
    const { parentTaskId } = task;
    unit.emit('task.handed_off', { taskId: id, ownerId: task.creatorId, data: { parentTaskId } });
  }
  if (task.agentId !== null) {
    unit.emit('task.assigned', { taskId: id, agentId: task.agentId, ownerId: task.creatorId, data: {} });
  }
  if (waitsFor.length > 0) announceBlocked(unit, task, WAITS_FOR_TASKS, waitsFor);
  else if (kind !== 'collab') startWorkflow(unit, task);
  return { task, created: true };
}

/**
 * The parent may be a task of another installation, of which nothing is known here. To a task of this one parts are only
 * added by who may see it: its parts decide what follows from it.
 * @throws forbidden
 */
async function assertMayBePart(
  unit: Unit,
  { principal }: Actor,
  parentId: string | undefined,
): Promise<void> {
  const parent = parentId === undefined ? undefined : await findTaskByPublicId(unit.trx, parentId);
  if (parent !== undefined) assertCan(principal, 'read', 'task', parent.creatorId);
}

/** What differs from the defaults of the columns: most tasks name none of it. */
const unlessEmpty = (body: CreateTaskBody, waitsFor: readonly string[]): Partial<NewTaskRow> => ({
  ...(body.priority !== 'medium' && { priority: body.priority }),
  ...(body.tags.length > 0 && { tags: body.tags }),
  ...(body.dependsOn.length > 0 && { dependsOn: body.dependsOn }),
  ...(body.parentTaskId !== undefined && { parentTaskId: body.parentTaskId }),
  ...(body.callbackUrl !== undefined && { callbackUrl: body.callbackUrl }),
  ...(waitsFor.length > 0 && { state: 'blocked', waitingReason: WAITS_FOR_TASKS, blockedAt: new Date() }),
});

/** What an Idempotency-Key stands for besides the body, where a family says more. */
const wishOf = ({ publicId, details }: CreateTaskOptions): object =>
  publicId === undefined && details === undefined
    ? {}
    : { publicId: publicId ?? null, details: details ?? {} };

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
