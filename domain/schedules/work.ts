/** What a run is made of: the tasks or batches of one due time, in the transaction that writes the run. */
import { v7 as uuidv7 } from 'uuid';
import { adHocBinding, type ShellName } from '../../contracts/act.ts';
import { problem } from '../../contracts/errors.ts';
import {
  MAX_SCHEDULE_AGENTS,
  MAX_TASKS_PER_RUN,
  type ScheduleAction,
  type ScheduleTarget,
} from '../../contracts/schedules.ts';
import { createTaskBodySchema, type TaskTarget } from '../../contracts/tasks.ts';
import { listCommandTargets } from '../../db/agents.ts';
import type { Queryable } from '../../db/database.ts';
import type { RunWork } from '../../db/schedule-runs.ts';
import { listMatchingAgents, type ScheduleRow } from '../../db/schedules.ts';
import { conditionOfTags } from '../agents/tag-expression.ts';
import { buildAct } from '../commands/act-request.ts';
import { type BatchAgent, shellsOf } from '../commands/agents.ts';
import { insertBatch } from '../commands/insert.ts';
import type { Actor } from '../deps.ts';
import { startRun as startSavedRun } from '../saved-commands/execute.ts';
import { createTaskIn } from '../tasks/create.ts';
import type { Unit } from '../transact.ts';
import type { ScheduleDeps } from './authority.ts';
import { isBounded, MAX_OWN_TASKS_PER_RUN } from './own-bounds.ts';

type ActionOf<Kind extends ScheduleAction['kind']> = Extract<ScheduleAction, { kind: Kind }>;

/**
 * @returns null when the target means no agent
 * @throws what making a task, or running a command, by hand would; the first refusal when every agent is refused
 */
export async function makeWork(
  unit: Unit,
  deps: ScheduleDeps,
  actor: Actor,
  { action, target }: ScheduleRow,
): Promise<RunWork | null> {
  if ('any' in target) {
    if (action.kind !== 'task') throw problem('conflict', { reason: 'commands need agents to run on' });
    return { taskIds: [await createOne(unit, deps, actor, action, target)], batchIds: [], refused: [] };
  }
  const wanted = await agentIdsOf(unit.trx, actor, target, action);
  if (wanted.length === 0) return null;
  const work =
    action.kind === 'saved_command'
      ? await runSaved(unit, deps, actor, action, wanted)
      : await runOnFound(unit, deps, actor, action, wanted);
  const [refused] = work.refused;
  if (work.taskIds.length + work.batchIds.length > 0 || refused === undefined) return work;
  if (refused.code === 'agent_not_found' || refused.code === 'agent_revoked') {
    throw problem(refused.code, { agentId: refused.agentId });
  }
  throw problem('conflict', { reason: refused.message });
}

/** @throws conflict when they are too many for this kind of work */
async function agentIdsOf(
  db: Queryable,
  { principal }: Actor,
  target: Exclude<ScheduleTarget, { any: true }>,
  action: ScheduleAction,
): Promise<string[]> {
  const maxTasks = isBounded(principal) ? MAX_OWN_TASKS_PER_RUN : MAX_TASKS_PER_RUN;
  const max = action.kind === 'task' ? maxTasks : MAX_SCHEDULE_AGENTS;
  const ids =
    'agentIds' in target
      ? [...new Set(target.agentIds)]
      : await listMatchingAgents(db, conditionOfTags(target.match), max + 1);
  if (ids.length > max) throw problem('conflict', { reason: `its target means more than ${max} agents` });
  return ids;
}

async function runOnFound(
  unit: Unit,
  deps: ScheduleDeps,
  actor: Actor,
  action: ActionOf<'task'> | ActionOf<'command'>,
  wanted: readonly string[],
): Promise<RunWork> {
  const found = new Map((await listCommandTargets(unit.trx, wanted)).map((agent) => [agent.id, agent]));
  const work: RunWork = { taskIds: [], batchIds: [], refused: [] };
  const agents: BatchAgent[] = [];
  for (const agentId of wanted) {
    const agent = found.get(agentId);
    if (agent !== undefined && !agent.isRevoked) agents.push(agent);
    else {
      const { code, message } = problem(agent === undefined ? 'agent_not_found' : 'agent_revoked', {
        agentId,
      });
      work.refused.push({ agentId, code, message });
    }
  }
  if (action.kind === 'command') work.batchIds = await runAct(unit, deps, actor, action, agents);
  else {
    for (const { id } of agents)
      work.taskIds.push(await createOne(unit, deps, actor, action, { agentId: id }));
  }
  return work;
}

async function createOne(
  unit: Unit,
  deps: ScheduleDeps,
  actor: Actor,
  { task }: ActionOf<'task'>,
  target: TaskTarget,
): Promise<string> {
  // Parsed again: an older version may have stored it, without what has come since.
  const body = createTaskBodySchema.parse({ ...task, target });
  const created = await createTaskIn(unit, deps, actor, body, { idempotencyKey: null });
  return created.task.publicId;
}

/** One batch for each shell: one digest stands for the whole batch. */
async function runAct(
  unit: Unit,
  deps: ScheduleDeps,
  actor: Actor,
  { act: request }: ActionOf<'command'>,
  agents: readonly BatchAgent[],
): Promise<string[]> {
  const groups = new Map<ShellName, BatchAgent[]>();
  for (const agent of agents) {
    const shell = request.shell ?? (request.argv === undefined ? shellsOf(agent)[0] : undefined) ?? 'sh';
    groups.set(shell, [...(groups.get(shell) ?? []), agent]);
  }
  const batchIds: string[] = [];
  for (const [shell, members] of groups) {
    const act = buildAct(request, deps.limits, { shell: () => shell });
    const { batchId } = await insertBatch(unit, deps, actor, {
      act,
      binding: adHocBinding,
      agents: members,
      step: null,
      ownerId: actor.principal.id,
    });
    batchIds.push(batchId);
  }
  return batchIds;
}

async function runSaved(
  unit: Unit,
  deps: ScheduleDeps,
  actor: Actor,
  { kind: _kind, savedCommandId, ...execution }: ActionOf<'saved_command'>,
  agentIds: string[],
): Promise<RunWork> {
  const run = await startSavedRun(unit, deps, actor, {
    id: savedCommandId,
    runId: uuidv7(),
    execution: { ...execution, agentIds },
  });
  return { taskIds: [], batchIds: run.batchIds, refused: run.refused };
}
