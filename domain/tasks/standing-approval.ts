/** What a task in mode `auto` may run undecided, and in whose name. */
import type { Act } from '../../contracts/act.ts';
import type { Principal } from '../../contracts/principal.ts';
import type { StepRef } from '../../contracts/workflow-io.ts';
import { listTaskCommands } from '../../db/commands.ts';
import type { TaskRow } from '../../db/tasks.ts';
import { findUser } from '../../db/users.ts';
import type { Actor } from '../deps.ts';
import { systemPrincipal } from '../identity/identify.ts';
import { can } from '../policy.ts';
import { findAutoApproval } from '../saved-commands/auto-approve.ts';
import type { Unit } from '../transact.ts';

export interface StandingApproval {
  /** Who created the task, and with it let these commands run. */
  by: Actor;
  reason: string;
}

/**
 * Only a command that somebody with the right to decide wrote down before: literally on the task, or as a saved command
 * marked `autoApprove`. Only while the creator of the task holds that right, and never right after an outcome nobody
 * knows: whether to repeat that is a person's decision. Undefined: a person decides.
 */
export async function findStandingApproval(
  unit: Unit,
  deps: { agentTokenAdmin?: boolean },
  task: TaskRow,
  ref: StepRef,
  act: Act,
): Promise<StandingApproval | undefined> {
  if (task.mode !== 'auto' || act.mode !== 'shell') return undefined;
  const reason = await reasonFor(unit, task, act);
  if (reason === undefined || !(await mayCreatorDecide(unit, deps, task))) return undefined;
  if (ref.step > 1 && (await isLastUnknown(unit, task))) return undefined;
  return { by: actorOfCreator(task), reason };
}

async function reasonFor(
  unit: Unit,
  task: TaskRow,
  act: Extract<Act, { mode: 'shell' }>,
): Promise<string | undefined> {
  if (task.preApproved.includes(act.script)) return 'pre-approved on the task';
  const saved = await findAutoApproval(unit.trx, act);
  return saved && `saved command ${saved.name} (${saved.savedCommandId}, revision ${saved.revision})`;
}

/** Whatever was proposed since and came to nothing: a proposal that was rejected tells nothing of what ran. */
async function isLastUnknown(unit: Unit, task: TaskRow): Promise<boolean> {
  const commands = await listTaskCommands(unit.trx, task.id, task.runNo);
  return commands.at(-1)?.state === 'unknown';
}

/** With the rights of now: who was disabled or demoted meanwhile runs nothing more. */
async function mayCreatorDecide(
  unit: Unit,
  deps: { agentTokenAdmin?: boolean },
  task: TaskRow,
): Promise<boolean> {
  if (task.creatorKind !== 'user') {
    return can(systemPrincipal({ agentTokenAdmin: deps.agentTokenAdmin ?? false }), 'decide', 'task');
  }
  const creator = await findUser(unit.trx, task.creatorId);
  if (creator === undefined || !creator.isActive) return false;
  const principal: Principal = {
    kind: 'user',
    id: creator.id,
    name: creator.username,
    roles: [creator.role],
    sessionId: null,
  };
  return can(principal, 'decide', 'task', task.creatorId);
}

const actorOfCreator = (task: TaskRow): Actor => ({
  principal: {
    kind: task.creatorKind === 'user' ? 'user' : 'system',
    id: task.creatorId,
    name: task.creatorName,
    roles: [],
    sessionId: null,
  },
  address: null,
  requestId: null,
});
