/** Which backend answers a prompt: the one that is asked for, or the first that can by the hub's configuration. */
import { z } from 'zod';
import { type CliName, cliPrograms } from '../../contracts/agent-protocol.ts';
import { problem } from '../../contracts/errors.ts';
import { findAgent } from '../../db/agents.ts';
import type { LocalAgentDeps } from '../commands/run-local.ts';
import { readHubConfigValue } from '../hub-config/store.ts';
import type { PolicyDeps } from '../step-policies.ts';
import { cliBackends, cliNames, unsupportedOptions } from './backends.ts';

/** Our own adapter of the language model: what answers when no program can. */
export const OWN_MODEL = 'model';
export type BackendName = CliName | typeof OWN_MODEL;

export const taskKinds = ['coding', 'analysis', 'doc', 'ops'] as const;
export type TaskKind = (typeof taskKinds)[number];

/** Names of the values in the hub's configuration. */
const ROUTING_KEY = 'sgpt_routing';
const BACKEND_KEY = 'sgpt_execution_backend';

const kindWords: readonly [TaskKind, RegExp][] = [
  ['coding', /refactor|implement|fix|code|test|bug/i],
  ['ops', /deploy|docker|restart|kubernetes|ops|infrastructure/i],
  ['doc', /readme|documentation|docs|explain/i],
];

/** The kind that is given, or that the words of the prompt speak of. */
export function taskKindOf(given: string | null | undefined, prompt: string): TaskKind {
  const wanted = given?.trim().toLowerCase();
  return (
    taskKinds.find((kind) => kind === wanted) ??
    kindWords.find(([, words]) => words.test(prompt))?.[0] ??
    'analysis'
  );
}

export const isCliName = (name: unknown): name is CliName =>
  typeof name === 'string' && Object.hasOwn(cliPrograms, name);

export interface Routing {
  policyVersion: string;
  /** Of requests that name none. */
  configuredBackend: CliName | 'auto';
  /** Tried first by `auto`. */
  defaultBackend: CliName | null;
  byTaskKind: Partial<Record<TaskKind, CliName>>;
}

const cliName = z.unknown().transform((name) => {
  const text = typeof name === 'string' ? name.trim().toLowerCase() : undefined;
  return isCliName(text) ? text : undefined;
});
const routingSchema = z.object({
  policy_version: z.string().min(1).max(100).catch('v2').default('v2'),
  default_backend: cliName.optional(),
  task_kind_backend: z.record(z.string(), cliName).catch({}).default({}),
});

/** As it is now; defaults where nothing, or nothing that can be read, is stored. */
export async function readRouting(deps: PolicyDeps): Promise<Routing> {
  const [routing, backend] = await Promise.all([
    readHubConfigValue(deps, ROUTING_KEY),
    readHubConfigValue(deps, BACKEND_KEY),
  ]);
  const parsed = routingSchema.safeParse(routing ?? {});
  const { policy_version, default_backend, task_kind_backend } = parsed.data ?? routingSchema.parse({});
  return {
    policyVersion: policy_version,
    configuredBackend: cliName.parse(backend) ?? 'auto',
    defaultBackend: default_backend ?? null,
    byTaskKind: task_kind_backend,
  };
}

/** Programs that the agent of the server's machine has named; undefined while it is not connected. */
export async function findInstalledBackends(
  deps: Pick<LocalAgentDeps, 'db' | 'localAgentId'>,
): Promise<ReadonlySet<CliName> | undefined> {
  const agent = await findAgent(deps.db, deps.localAgentId);
  if (agent === undefined || agent.status !== 'online') return undefined;
  return new Set(cliNames.filter((name) => agent.capabilities.includes(`cli:${name}`)));
}

export interface RouteWish {
  requested: CliName | 'auto';
  taskKind: TaskKind;
  options: readonly string[];
  model: string | null;
}

/**
 * @param canRun installed, not left alone because of its failures, and the caller may run programs
 * @throws invalid_request where the options do not fit
 */
export function chooseBackend(
  routing: Routing,
  { requested, taskKind, options, model }: RouteWish,
  canRun: (name: CliName) => boolean,
): { backend: BackendName; reason: string } {
  if (requested !== 'auto') {
    refuseOptions(requested, unsupportedOptions(requested, options));
    if (model !== null && !cliBackends[requested].takesModel)
      throw problem('invalid_request', { reason: `Backend '${requested}' takes no model` });
    return { backend: requested, reason: `explicit_backend:${requested}` };
  }
  const fits = (name: CliName): boolean =>
    canRun(name) &&
    unsupportedOptions(name, options).length === 0 &&
    (model === null || cliBackends[name].takesModel);
  const ofKind = routing.byTaskKind[taskKind];
  if (ofKind !== undefined && fits(ofKind))
    return { backend: ofKind, reason: `task_kind_policy:${taskKind}->${ofKind}` };
  const { defaultBackend } = routing;
  if (defaultBackend !== null && fits(defaultBackend))
    return { backend: defaultBackend, reason: `default_policy:${defaultBackend}` };
  const other = cliNames.find(fits);
  if (other !== undefined) return { backend: other, reason: `first_available:${other}` };
  refuseOptions(OWN_MODEL, options);
  return { backend: OWN_MODEL, reason: 'no_backend_available:model' };
}

function refuseOptions(name: BackendName, rejected: readonly string[]): void {
  if (rejected.length === 0) return;
  const list = rejected.map((option) => `'${option}'`).join(', ');
  throw problem('invalid_request', { reason: `Unsupported options for backend '${name}': [${list}]` });
}
