/** What a rollout runs: the exact acts, one for each shell that is found on its targets, made when it is created. */
import { validate as isUuid } from 'uuid';
import { type Act, type ActBinding, actDigest, actText, type ShellName } from '../../contracts/act.ts';
import type { ActRequest } from '../../contracts/commands.ts';
import { isProblem, problem, type ValidationIssue } from '../../contracts/errors.ts';
import { type RolloutPlan, type RolloutRun, SKIP_OFFLINE_EXPIRY_MS } from '../../contracts/rollouts.ts';
import { rolloutWorkflowId } from '../../contracts/workflow-io.ts';
import { type ActRow, findAct } from '../../db/acts.ts';
import type { Queryable } from '../../db/database.ts';
import type { RolloutRunText } from '../../db/rollouts.ts';
import { findSavedCommand } from '../../db/saved-commands.ts';
import { buildAct } from '../commands/act-request.ts';
import { type BatchAgent, shellsOf } from '../commands/agents.ts';
import type { DomainDeps } from '../deps.ts';
import { chooseScript } from '../saved-commands/choose-script.ts';
import { savedAct } from '../saved-commands/execute.ts';
import { settingsOf } from '../saved-commands/parameters.ts';

/** Acts, and which of them each agent gets; an agent that none fits has none. */
export interface RolloutActs {
  acts: ActRow[];
  digestOf: ReadonlyMap<string, string>;
  run: RolloutRunText;
}

/** What the acts of a rollout are bound to, so that no other one's digest is the same. */
export const rolloutBinding = (rolloutId: string): ActBinding => ({
  taskRun: rolloutWorkflowId(rolloutId),
  step: 0,
  proposalId: '',
});

/** How long the commands of a rollout wait for their agents, milliseconds. */
const expiryOf = ({ offline }: Pick<RolloutPlan, 'offline'>): number =>
  offline.kind === 'queue' ? offline.expiryMs : SKIP_OFFLINE_EXPIRY_MS;

/** @throws validation_failed pointing into `run`, saved_command_not_found, conflict (it runs on none of the agents) */
export async function makeRolloutActs(
  deps: Pick<DomainDeps, 'limits'>,
  db: Queryable,
  wish: { rolloutId: string; run: RolloutRun; plan: RolloutPlan; agents: readonly BatchAgent[] },
): Promise<RolloutActs> {
  const expiryMs = expiryOf(wish.plan);
  const binding = rolloutBinding(wish.rolloutId);
  const { run, actOf } =
    'act' in wish.run
      ? plainActs(deps, wish.run.act, expiryMs)
      : await savedActs(deps, db, wish.run, expiryMs);
  const acts = new Map<string, ActRow>();
  const digestOf = new Map<string, string>();
  const made = new Map<string, ActRow>();
  for (const agent of wish.agents) {
    const choice = actOf(agent);
    if (choice === undefined) continue;
    const known = made.get(choice.key);
    const act = known?.act ?? underRun(choice.make);
    const row = known ?? { act, binding, digest: actDigest(act, binding) };
    made.set(choice.key, row);
    acts.set(row.digest, row);
    digestOf.set(agent.id, row.digest);
  }
  if (digestOf.size === 0)
    throw problem('conflict', { reason: 'it runs in no shell of the selected agents' });
  return { acts: [...acts.values()], digestOf, run };
}

/** The acts of these digests; undefined when one is gone or is not what its digest says. */
export async function findActs(db: Queryable, digests: readonly string[]): Promise<ActRow[] | undefined> {
  const acts: ActRow[] = [];
  for (const digest of digests) {
    const row = await findAct(db, digest);
    if (row === undefined || actDigest(row.act, row.binding) !== digest) return undefined;
    acts.push(row);
  }
  return acts;
}

/** The acts of another rollout, bound to a new one. */
export function rebindActs(rolloutId: string, acts: readonly ActRow[]): Map<string, ActRow> {
  const binding = rolloutBinding(rolloutId);
  return new Map(
    acts.map(({ digest, act }) => [digest, { act, binding, digest: actDigest(act, binding) }] as const),
  );
}

/** Which act an agent gets; agents with the same key get the same. */
interface Choice {
  key: string;
  make: () => Act;
}

interface Acts {
  run: RolloutRunText;
  actOf(agent: BatchAgent): Choice | undefined;
}

function plainActs(deps: Pick<DomainDeps, 'limits'>, request: ActRequest, expiryMs: number): Acts {
  const isSame = request.argv !== undefined || request.shell !== undefined;
  const actFor = (shell: ShellName): Act =>
    buildAct({ ...request, expiryMs }, deps.limits, { shell: () => shell });
  const text = underRun(() => actText(actFor('sh')));
  return {
    run: { text, savedCommandId: null, revision: null },
    actOf: (agent) => {
      const [usual = 'sh'] = shellsOf(agent);
      return { key: isSame ? '' : usual, make: () => actFor(usual) };
    },
  };
}

async function savedActs(
  deps: Pick<DomainDeps, 'limits'>,
  db: Queryable,
  run: Exclude<RolloutRun, { act: unknown }>,
  expiryMs: number,
): Promise<Acts> {
  const { savedCommandId, parameters, shell: wanted, ...how } = run;
  const saved = isUuid(savedCommandId) ? await findSavedCommand(db, savedCommandId) : undefined;
  if (saved === undefined) throw problem('saved_command_not_found', { savedCommandId });
  const checked = settingsOf(saved, parameters, { allowUndeclared: false });
  if ('issues' in checked) throw refusal(checked.issues);
  return {
    run: { text: saved.name, savedCommandId: saved.id, revision: saved.revision },
    actOf: (agent) => {
      const script = chooseScript(saved.scripts, agent, { shell: wanted });
      if (script === undefined) return undefined;
      return {
        key: script.shell,
        make: () => savedAct(deps, script, checked.settings, { ...how, expiryMs }),
      };
    },
  };
}

/** Issues of an act stand below `run` here. */
function underRun<T>(make: () => T): T {
  try {
    return make();
  } catch (error) {
    if (!isProblem(error, 'validation_failed')) throw error;
    throw refusal(error.issues, error);
  }
}

const refusal = (issues: readonly ValidationIssue[], cause?: unknown) =>
  problem(
    'validation_failed',
    {},
    { issues: issues.map((issue) => ({ ...issue, path: ['run', ...issue.path] })), cause },
  );
