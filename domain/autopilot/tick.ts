/**
 * One look for tasks of the team that wait for somebody to set them going.
 *
 *  A. A tick holds the row of the autopilot: two at once never set going more than may be open.
 *  B. Nothing runs by it: a task that is set going proposes by itself, and what it proposes is decided as always.
 *  C. A task is set going by the mode in its row; the signal to its workflow only repeats it.
 */
import { validate as isUuid } from 'uuid';
import { problem } from '../../contracts/errors.ts';
import { taskWorkflowId } from '../../contracts/workflow-io.ts';
import {
  type AutopilotRow,
  countSessionTasks,
  isTickDue,
  pickConnectedAgent,
  setTaskGoing,
  takeCandidates,
  tryLockAutopilot,
  updateAutopilot,
} from '../../db/autopilot.ts';
import { lockTask, type TaskRow, updateTask } from '../../db/tasks.ts';
import { findActiveTeam, findTeam, listMembers, type TeamMemberRow } from '../../db/teams.ts';
import { type Actor, type DomainDeps, engineActor } from '../deps.ts';
import { isRepeatedRequest, type RequestKey } from '../idempotency.ts';
import { assertCan } from '../policy.ts';
import { transact, type Unit } from '../transact.ts';
import { limitOf } from './budget.ts';
import { type AutopilotStatus, getAutopilotStatus, modeOfLevel } from './state.ts';

/** Tasks that one tick looks at: those that nobody can take now must not stand before all others. */
const CANDIDATES_OF_A_TICK = 100;

export type TickReason =
  | 'ok'
  | 'no_active_team'
  | 'no_candidates'
  | 'no_available_workers'
  | 'max_concurrency_reached'
  | 'budget_exhausted'
  | 'tick_already_in_progress'
  | 'repeated_request';

export interface TickOutcome {
  dispatched: number;
  reason: TickReason;
}

/** Is a tick due? Then do it. @returns tasks set going */
export async function runDueTick(deps: DomainDeps): Promise<number> {
  if (!(await isTickDue(deps.db))) return 0;
  return (await tick(deps, engineActor, { isDue: true })).dispatched;
}

/**
 * A tick asked for by a person, whether the autopilot runs or not.
 * @param wish.teamId absent: the team of the autopilot
 * @throws forbidden, not_found (the team), idempotency_conflict
 */
export async function tickNow(
  deps: DomainDeps,
  actor: Actor,
  wish: { teamId: string | null },
  requestKey: RequestKey | null,
): Promise<AutopilotStatus & TickOutcome> {
  assertCan(actor.principal, 'update', 'team');
  const { teamId } = wish;
  if (teamId !== null && (!isUuid(teamId) || (await findTeam(deps.db, teamId)) === undefined)) {
    throw problem('not_found');
  }
  const outcome = await tick(deps, actor, { teamId, requestKey });
  return { ...(await getAutopilotStatus(deps, actor)), ...outcome };
}

interface TickWish {
  teamId?: string | null;
  requestKey?: RequestKey | null;
  /** By the clock: it may have been stopped, or done, since it was looked at. */
  isDue?: true;
}

async function tick(deps: DomainDeps, actor: Actor, wish: TickWish): Promise<TickOutcome> {
  return transact(deps, async (unit) => {
    const { requestKey = null } = wish;
    if (await isRepeatedRequest(unit.trx, actor.principal, requestKey, 'autopilot.tick', 'autopilot')) {
      return { dispatched: 0, reason: 'repeated_request' };
    }
    const row = await tryLockAutopilot(unit.trx); // A
    if (row === undefined) return { dispatched: 0, reason: 'tick_already_in_progress' };
    if (wish.isDue && !(await isTickDue(unit.trx)))
      return { dispatched: 0, reason: 'tick_already_in_progress' };
    const outcome = await dispatch(unit, row, wish.teamId ?? row.teamId);
    await updateAutopilot(unit.trx, {
      tickCount: row.tickCount + 1,
      dispatchedCount: row.dispatchedCount + outcome.dispatched,
      lastReason: outcome.reason,
      isTicked: true,
    });
    if (!wish.isDue) {
      unit.audit(actor, {
        action: 'autopilot.tick',
        targetKind: 'autopilot',
        targetId: String(row.session),
        details: { ...outcome },
      });
    }
    return outcome;
  });
}

async function dispatch(unit: Unit, row: AutopilotRow, teamId: string | null): Promise<TickOutcome> {
  const nothing = (reason: TickReason): TickOutcome => ({ dispatched: 0, reason });
  const team = teamId === null ? await findActiveTeam(unit.trx) : await findTeam(unit.trx, teamId);
  if (team === undefined) return nothing('no_active_team');
  const counts = await countSessionTasks(unit.trx, row.session);
  const limit = limitOf(row.budgetLabel);
  if (limit !== null && counts.costUsd >= limit) return nothing('budget_exhausted');
  const room = row.maxConcurrency - counts.open;
  if (room <= 0) return nothing('max_concurrency_reached');
  const candidates = await takeCandidates(unit.trx, team.id, Math.max(room, CANDIDATES_OF_A_TICK));
  if (candidates.length === 0) return nothing('no_candidates');
  const members = await listMembers(unit.trx, [team.id]);
  let dispatched = 0;
  for (const candidate of candidates) {
    if (dispatched === room) break;
    const task = await lockTask(unit.trx, candidate.id);
    if (task === undefined) continue;
    const agentId = await agentFor(unit, task, candidate.roleId, members);
    if (agentId === undefined) continue;
    await setGoing(unit, row, task, agentId);
    dispatched++;
  }
  return dispatched === 0 ? nothing('no_available_workers') : { dispatched, reason: 'ok' };
}

/**
 * The task's own agent, connected or not: somebody has chosen it. Else one that is connected: a member of the team, with
 * the task's role where one has it; in a team without members, or where the target says more, whom the target means.
 */
async function agentFor(
  unit: Unit,
  task: TaskRow,
  roleId: string | null,
  members: readonly TeamMemberRow[],
): Promise<string | undefined> {
  if (task.agentId !== null) return task.agentId;
  if ('tags' in task.target) return pickConnectedAgent(unit.trx, { tags: task.target.tags });
  if (members.length === 0) return pickConnectedAgent(unit.trx, {});
  const pickOf = (some: readonly TeamMemberRow[]) =>
    pickConnectedAgent(unit.trx, { refs: some.map(({ agentRef }) => agentRef) });
  const ofRole = members.filter((member) => member.roleId === roleId);
  return (ofRole.length > 0 ? await pickOf(ofRole) : undefined) ?? (await pickOf(members));
}

async function setGoing(unit: Unit, row: AutopilotRow, task: TaskRow, agentId: string): Promise<void> {
  const mode = modeOfLevel[row.securityLevel];
  if (task.agentId === null) {
    await updateTask(unit.trx, task.id, { agentId, state: 'assigned' });
    unit.emit('task.assigned', {
      taskId: task.id,
      agentId,
      ownerId: task.creatorId,
      data: { previous: null },
    });
  }
  await setTaskGoing(unit.trx, task.id, { mode, session: row.session });
  unit.audit(engineActor, {
    action: 'autopilot.dispatch',
    targetKind: 'task',
    targetId: task.publicId,
    details: { mode, agentId, session: row.session },
  });
  unit.emit('task.updated', { taskId: task.id, ownerId: task.creatorId, data: { changed: ['mode'] } });
  unit.signal(taskWorkflowId(task.id, task.runNo), { name: 'modeChanged', arg: { mode } }); // C
}
