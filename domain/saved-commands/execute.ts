/** Run a saved command on many agents: one act, and so one batch, for each shell that is found on them. */

import { validate as isUuid, v7 as uuidv7 } from 'uuid';
import { type Act, adHocBinding, type ShellName } from '../../contracts/act.ts';
import type { ActRequest } from '../../contracts/commands.ts';
import { isProblem, problem, type SteelthreadError } from '../../contracts/errors.ts';
import type { ExecuteSavedBody, ParameterValue, SavedContent } from '../../contracts/saved-commands.ts';
import { listReachedAgents } from '../../db/agent-connections.ts';
import { listCommandTargets } from '../../db/agents.ts';
import {
  findRevision,
  findSavedCommand,
  findSavedRun,
  insertSavedRun,
  type SavedRunRow,
} from '../../db/saved-commands.ts';
import { buildAct } from '../commands/act-request.ts';
import type { BatchAgent } from '../commands/agents.ts';
import { insertBatch } from '../commands/insert.ts';
import type { Actor, DomainDeps } from '../deps.ts';
import { claimRequest, requestKeyOf } from '../idempotency.ts';
import { assertCan } from '../policy.ts';
import { transact, type Unit } from '../transact.ts';
import { chooseScript, type ShellWish } from './choose-script.ts';
import { settingsOf } from './parameters.ts';
import { findUnsafe, type ParameterSetting, renderScript } from './render.ts';

export interface SavedExecution
  extends Omit<ExecuteSavedBody, 'waitMs' | 'parameters'>,
    Pick<ShellWish, 'preferPowershell'> {
  parameters: Readonly<Record<string, ParameterValue | null>>;
  /** See `SettingsOptions`. */
  allowUndeclared?: boolean;
  /** An agent without a connection is refused instead of waited for. */
  onlyConnected?: boolean;
}

export interface SavedRun extends SavedRunRow {
  /** Of the revision that was run. */
  name: string;
  /** What stands in its scripts, for whom no command was made. */
  content: SavedContent;
  /** False when an earlier request with the Idempotency-Key made it. */
  created: boolean;
}

/** Agents on which the same text runs in the same shell. */
interface Group {
  shell: ShellName;
  script: string;
  agents: BatchAgent[];
}

/**
 * All batches are made, or none. Agents that cannot get the command are in `refused`; the run is made without them, even
 * when nobody is left.
 * @throws forbidden, saved_command_not_found, validation_failed, idempotency_conflict
 */
export async function executeSavedCommand(
  deps: DomainDeps,
  actor: Actor,
  id: string,
  execution: SavedExecution,
  idempotencyKey: string | null,
): Promise<SavedRun> {
  assertCan(actor.principal, 'execute', 'saved_command');
  assertCan(actor.principal, 'execute', 'command');
  const { run, created } = await transact(deps, async (unit) => {
    const runId = uuidv7();
    // Before anything is looked at: a repeat has its answer, whatever has become of command and agents since.
    const made = await claimRequest(
      unit.trx,
      actor.principal,
      requestKeyOf({ idempotencyKey }, { savedCommandId: id, ...execution }),
      'saved_command_run',
      runId,
    );
    if (made !== undefined) return { run: await getRun(unit, made), created: false };
    return { run: await startRun(unit, deps, actor, { id, runId, execution }), created: true };
  });
  const content = await findRevision(deps.db, run.savedCommandId, run.revision);
  if (content === undefined) throw new Error(`run ${run.id} has no revision ${run.revision}`);
  return { ...run, name: content.name, content, created };
}

/** The refusal of an agent as an error, for answers that are about one of them. */
export function refusalOf({ agentId, code, message }: SavedRunRow['refused'][number]): SteelthreadError {
  if (code === 'agent_not_found' || code === 'agent_revoked' || code === 'agent_not_connected') {
    return problem(code, { agentId });
  }
  return problem('conflict', { reason: message });
}

async function getRun(unit: Unit, id: string): Promise<SavedRunRow> {
  const run = await findSavedRun(unit.trx, id);
  if (run === undefined) throw problem('service_unavailable');
  return run;
}

/** As executeSavedCommand, in a unit of work that does more. Asks nobody whether the actor may. */
export async function startRun(
  unit: Unit,
  deps: DomainDeps,
  actor: Actor,
  { id, runId, execution }: { id: string; runId: string; execution: SavedExecution },
): Promise<SavedRunRow> {
  const saved = isUuid(id) ? await findSavedCommand(unit.trx, id) : undefined;
  if (saved === undefined) throw problem('saved_command_not_found', { savedCommandId: id });
  const checked = settingsOf(saved, execution.parameters, {
    allowUndeclared: execution.allowUndeclared ?? false,
  });
  if ('issues' in checked) throw problem('validation_failed', {}, { issues: checked.issues });
  const { groups, refused } = await groupAgents(unit, saved, execution);
  const batchIds: string[] = [];
  for (const group of groups) {
    const act = savedAct(deps, group, checked.settings, execution);
    const { batchId } = await insertBatch(unit, deps, actor, {
      act,
      binding: adHocBinding,
      agents: group.agents,
      step: null,
      ownerId: actor.principal.id,
    });
    batchIds.push(batchId);
  }
  const run = { id: runId, savedCommandId: saved.id, revision: saved.revision, batchIds, refused };
  await insertSavedRun(unit.trx, run);
  unit.audit(actor, {
    action: 'saved_command.execute',
    targetKind: 'saved_command',
    targetId: saved.id,
    details: { name: saved.name, revision: saved.revision, runId, batchIds, refused: refused.length },
  });
  return run;
}

async function groupAgents(
  unit: Unit,
  saved: SavedContent,
  execution: SavedExecution,
): Promise<{ groups: Group[]; refused: SavedRunRow['refused'] }> {
  const wanted = [...new Set(execution.agentIds)];
  const found = new Map((await listCommandTargets(unit.trx, wanted)).map((agent) => [agent.id, agent]));
  const reached = execution.onlyConnected ? await listReachedAgents(unit.trx, wanted) : undefined;
  const groups = new Map<string, Group>();
  const refused: SavedRunRow['refused'] = [];
  for (const agentId of wanted) {
    const refuse = ({ code, message }: SteelthreadError) => void refused.push({ agentId, code, message });
    const agent = found.get(agentId);
    if (agent === undefined) refuse(problem('agent_not_found', { agentId }));
    else if (agent.isRevoked) refuse(problem('agent_revoked', { agentId }));
    else if (reached?.has(agentId) === false) refuse(problem('agent_not_connected', { agentId }));
    else {
      const chosen = chooseScript(saved.scripts, agent, execution);
      if (chosen === undefined) {
        refused.push({ agentId, code: 'conflict', message: `no script of it runs in a shell of ${agentId}` });
        continue;
      }
      const group = groups.get(chosen.shell) ?? { ...chosen, agents: [] };
      group.agents.push(agent);
      groups.set(chosen.shell, group);
    }
  }
  return { groups: [...groups.values()], refused };
}

/**
 * The act that a saved command is in a shell, with checked values. The fields of an issue are those of the body here.
 * @throws validation_failed
 */
export const savedAct = (
  deps: Pick<DomainDeps, 'limits'>,
  script: Pick<Group, 'shell' | 'script'>,
  settings: readonly ParameterSetting[],
  how: ActWish,
): Act => buildOwnAct(deps, actRequest(script, settings, how), script.shell);

type ActWish = Pick<SavedExecution, 'workingDirectory' | 'user' | 'elevated' | 'timeoutMs' | 'expiryMs'>;

function actRequest(
  { shell, script }: Pick<Group, 'shell' | 'script'>,
  settings: readonly ParameterSetting[],
  execution: ActWish,
): ActRequest {
  const unsafe = findUnsafe(shell, settings);
  if (unsafe !== undefined) {
    const message = 'holds characters that cmd.exe would act upon';
    const issue = { in: 'body', path: ['parameters', unsafe], message, type: 'value_error' } as const;
    throw problem('validation_failed', {}, { issues: [issue] });
  }
  const { workingDirectory, user, elevated, timeoutMs, expiryMs } = execution;
  return {
    command: renderScript(shell, script, settings),
    shell,
    workingDirectory,
    user,
    elevated,
    timeoutMs,
    expiryMs,
  };
}

/** The fields of the act are those of the body here. @throws validation_failed */
function buildOwnAct(deps: Pick<DomainDeps, 'limits'>, request: ActRequest, shell: ShellName): Act {
  try {
    return buildAct(request, deps.limits, { shell: () => shell });
  } catch (error) {
    if (!isProblem(error, 'validation_failed')) throw error;
    const issues = error.issues.map((issue) => ({
      ...issue,
      path: issue.path.filter((part) => part !== 'act'),
    }));
    throw problem('validation_failed', {}, { issues, cause: error });
  }
}
