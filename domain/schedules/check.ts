/** What a schedule must be beside its shape, said before it is stored. */
import { isProblem, problem, type ValidationIssue } from '../../contracts/errors.ts';
import { MAX_TASKS_PER_RUN } from '../../contracts/schedules.ts';
import { findSavedCommand } from '../../db/saved-commands.ts';
import type { ScheduleFields } from '../../db/schedules.ts';
import { parseTagExpression } from '../agents/tag-expression.ts';
import { buildAct } from '../commands/act-request.ts';
import { getBatchAgents } from '../commands/agents.ts';
import { settingsOf } from '../saved-commands/parameters.ts';
import type { Unit } from '../transact.ts';
import type { ScheduleDeps } from './authority.ts';
import { parseCron } from './cron.ts';
import { type DueSpan, nextDueTimes } from './due-times.ts';

const issue = (path: (string | number)[], message: string): ValidationIssue => ({
  in: 'body',
  path,
  message,
  type: 'value_error',
});

/** @throws validation_failed: no cron expression, or one that is never due */
export function assertTiming(span: DueSpan): void {
  const { timing } = span;
  if (timing.kind === 'cron') {
    const parsed = parseCron(timing.expression);
    if ('error' in parsed) refuse(issue(['timing', 'expression'], `The cron expression ${parsed.error}`));
  }
  if (nextDueTimes({ timing, startAt: null, endAt: null }, 0, 1).length === 0) {
    refuse(issue(['timing'], 'is never due'));
  }
}

/**
 * @param isAgentNeeded false: a named agent may come later
 * @throws validation_failed, agent_not_found, agent_revoked, saved_command_not_found
 */
export async function assertContent(
  unit: Unit,
  deps: ScheduleDeps,
  fields: ScheduleFields,
  isAgentNeeded: boolean,
): Promise<void> {
  const { action, target, startAt, endAt } = fields;
  assertTiming(fields);
  if (startAt !== null && endAt !== null && endAt < startAt) {
    refuse(issue(['endAt'], 'must not be before startAt'));
  }
  if ('match' in target) parseTagExpression(target.match, { in: 'body', path: ['target', 'match'] });
  if ('any' in target && action.kind !== 'task') {
    refuse(issue(['target'], 'must name agents or their tags: only a task finds an agent by itself'));
  }
  if ('agentIds' in target) {
    if (action.kind === 'task' && new Set(target.agentIds).size > MAX_TASKS_PER_RUN) {
      refuse(issue(['target', 'agentIds'], `must be at most ${MAX_TASKS_PER_RUN} for tasks`));
    }
    if (isAgentNeeded) await getBatchAgents(unit.trx, target.agentIds);
  }
  if (action.kind === 'command') {
    atAction(() => buildAct(action.act, deps.limits, { shell: () => 'sh' }));
  }
  if (action.kind === 'saved_command') {
    const saved = await findSavedCommand(unit.trx, action.savedCommandId);
    if (saved === undefined) {
      throw problem('saved_command_not_found', { savedCommandId: action.savedCommandId });
    }
    const checked = settingsOf(saved, action.parameters);
    if ('issues' in checked) refuse(...checked.issues.map(inAction));
  }
}

const inAction = (each: ValidationIssue): ValidationIssue => ({ ...each, path: ['action', ...each.path] });

function refuse(...issues: ValidationIssue[]): never {
  throw problem('validation_failed', {}, { issues });
}

/** The paths of what is refused begin in the body of the schedule. */
function atAction(build: () => unknown): void {
  try {
    build();
  } catch (error) {
    if (!isProblem(error, 'validation_failed')) throw error;
    refuse(...error.issues.map(inAction));
  }
}
