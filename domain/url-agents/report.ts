/**
 * What another installation reports of a part that it was given.
 *
 *  A. A part ends once: what is reported after that changes nothing, and is no error.
 *  B. The parent is told, but goes on as it stands: what the part means for it is for whoever works on it.
 */
import { problem } from '../../contracts/errors.ts';
import { type AnantaStatus, parseAnantaStatus } from '../../contracts/states.ts';
import { type DelegationRow, findDelegation, writeReport } from '../../db/delegations.ts';
import { findTaskByPublicId, lockTask, type TaskRow, updateTask } from '../../db/tasks.ts';
import type { Actor, DomainDeps } from '../deps.ts';
import { can, refusalFor } from '../policy.ts';
import { plainProse } from '../tasks/model-answer.ts';
import { type ReportedStatus, reportStatusIn } from '../tasks/report-status.ts';
import { transact, type Unit } from '../transact.ts';

/** Most of the other side's output that is kept, characters. */
const MAX_REPORTED_OUTPUT = 256 * 1024;

export interface PartReport {
  /** Public id of the part. */
  id: string;
  status: string;
  lastOutput: string | null;
  lastExitCode: number | null;
}

/** What a status over there means here, where the part itself stays ours. */
const reportOf: Partial<Record<AnantaStatus, ReportedStatus>> = {
  proposing: 'running',
  in_progress: 'running',
  completed: 'completed',
  failed: 'failed',
  cancelled: 'canceled',
};

/** @throws forbidden, invalid_payload, subtask_not_found, command_running (it ends here as well; later) */
export async function reportPart(
  deps: DomainDeps,
  actor: Actor,
  parentId: string,
  report: PartReport,
): Promise<void> {
  const { principal } = actor;
  const status = parseAnantaStatus(report.status);
  if (status === undefined)
    throw problem('invalid_payload', { reason: `no status is called ${report.status.slice(0, 32)}` });
  if (!can(principal, 'report', 'task')) throw refusalFor(principal);
  await transact(deps, async (unit) => {
    const part = await findTaskByPublicId(unit.trx, report.id);
    const isMine = principal.callbackOf === undefined || principal.callbackOf === part?.id;
    const delegation = part === undefined || !isMine ? undefined : await findDelegation(unit.trx, part.id);
    // The parent is locked first, as by everybody who locks both.
    const parent = delegation && (await lockTask(unit.trx, delegation.parentId));
    const task = part && delegation && (await lockTask(unit.trx, part.id));
    if (delegation === undefined || task === undefined || parent?.publicId !== parentId)
      throw problem('subtask_not_found', { taskId: report.id });
    if (isRepeat(delegation, task, report)) return;
    await writeReport(unit.trx, task.id, {
      status,
      lastOutput:
        report.lastOutput === null ? null : plainProse(report.lastOutput.slice(-MAX_REPORTED_OUTPUT)),
      lastExitCode: report.lastExitCode,
    });
    await applyStatus(unit, actor, task, reportOf[status]);
    tellParent(unit, parent, task, { status, exitCode: report.lastExitCode });
    await updateTask(unit.trx, parent.id, {});
  });
}

/** A */
function isRepeat({ reportedStatus }: DelegationRow, task: TaskRow, report: PartReport): boolean {
  if (task.endedAt === null || reportedStatus === null) return false;
  const earlier = parseAnantaStatus(reportedStatus);
  return earlier !== undefined && (earlier === parseAnantaStatus(report.status) || isEnd(reportOf[earlier]));
}

const isEnd = (status: ReportedStatus | undefined): boolean =>
  status === 'completed' || status === 'failed' || status === 'canceled';

async function applyStatus(
  unit: Unit,
  actor: Actor,
  task: TaskRow,
  status: ReportedStatus | undefined,
): Promise<void> {
  if (status === undefined || task.endedAt !== null || task.cancelRequestedAt !== null) return;
  if (task.state === 'blocked' && status === 'running') return;
  await reportStatusIn(unit, actor, task, { status, reason: `reported by its agent` }, task.dependsOn);
}

/** B */
function tellParent(
  unit: Unit,
  parent: TaskRow,
  part: TaskRow,
  { status, exitCode }: { status: AnantaStatus; exitCode: number | null },
): void {
  unit.emit('task.updated', {
    taskId: parent.id,
    ownerId: parent.creatorId,
    data: { part: part.publicId, status, exitCode },
  });
}
