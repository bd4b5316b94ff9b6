/** A Scrum team with all that it begins with. */
import { v7 as uuidv7 } from 'uuid';
import { problem } from '../../contracts/errors.ts';
import { createTaskBodySchema, MAX_DEADLINE_MS } from '../../contracts/tasks.ts';
import type { TeamView } from '../../contracts/teams.ts';
import { restoreTeamType } from '../../db/team-defaults.ts';
import { findTeamTypeByName } from '../../db/team-types.ts';
import { findTeam, lockTeams } from '../../db/teams.ts';
import type { Actor } from '../deps.ts';
import type { RequestKey } from '../idempotency.ts';
import { assertCan } from '../policy.ts';
import { type CreateTaskDeps, createTaskIn } from '../tasks/create.ts';
import { transact } from '../transact.ts';
import { findMade } from './claim.ts';
import { makeTeam, presentOne } from './teams.ts';

const DEFAULT_NAME = 'Scrum Team';

/** Board and roadmap are for people to look at; nothing of it runs until it is asked for. */
const firstTasks = [
  {
    title: 'Scrum Backlog',
    goal: 'Collect what the product needs and put it in order of value: one line each, the most valuable first.',
    priority: 'high',
  },
  {
    title: 'Sprint Board',
    goal: 'Keep the board of the present sprint: what is to do, in progress and done, and who has it.',
    priority: 'high',
  },
  {
    title: 'Product Roadmap',
    goal: 'Keep the roadmap: what the next releases hold, and in which order.',
    priority: 'medium',
  },
  {
    title: 'Burndown Chart',
    goal: 'Keep the burndown of the present sprint: how much work is left, day by day.',
    priority: 'medium',
  },
] as const;

/**
 * The team is active afterwards, and its first tasks wait in mode `manual`.
 * @throws forbidden, scrum_type_not_found, invalid_request (too many teams), idempotency_conflict
 */
export async function setupScrum(
  deps: CreateTaskDeps,
  actor: Actor,
  wish: { name: string | null },
  requestKey: RequestKey | null = null,
): Promise<TeamView> {
  assertCan(actor.principal, 'create', 'team');
  return transact(deps, async (unit) => {
    await lockTeams(unit.trx);
    const id = uuidv7();
    const earlier = await findMade(unit, actor, requestKey, { kind: 'scrum_team', id }, (made) =>
      findTeam(unit.trx, made),
    );
    if (earlier !== undefined) return presentOne(unit.trx, earlier.id);
    const type = await findTeamTypeByName(unit.trx, 'Scrum');
    if (type === undefined) throw problem('scrum_type_not_found');
    await restoreTeamType(unit.trx, 'Scrum');
    const name = wish.name ?? DEFAULT_NAME;
    await makeTeam(unit, actor, id, {
      name,
      description: `Scrum team ${name}`,
      teamTypeId: type.id,
      members: [],
      isActive: true,
    });
    for (const { title, goal, priority } of firstTasks) {
      const body = createTaskBodySchema.parse({
        title: `${name}: ${title}`.slice(0, 255),
        goal,
        mode: 'manual',
        deadlineMs: MAX_DEADLINE_MS,
      });
      const details = { teamId: id, roleId: null, templateId: null, statusLabel: 'todo', priority };
      await createTaskIn(unit, deps, actor, body, { idempotencyKey: null, details });
    }
    return presentOne(unit.trx, id);
  });
}
