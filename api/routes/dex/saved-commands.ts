import {
  type DexSavedBody,
  type DexSavedCommand,
  type DexSavedRun,
  dexCreateSavedRoute,
  dexDeleteSavedRoute,
  dexExecuteSavedRoute,
  dexGetSavedRoute,
  dexListSavedRoute,
  dexUpdateSavedRoute,
} from '../../../contracts/families/dex/saved-commands.ts';
import type {
  SavedChange,
  SavedCommandView,
  SavedContent,
  SavedParameter,
  SavedScripts,
  ScriptKind,
} from '../../../contracts/saved-commands.ts';
import { MAX_PAGE_SIZE } from '../../../contracts/shared.ts';
import { getBatch } from '../../../domain/commands/read.ts';
import type { Actor, DomainDeps } from '../../../domain/deps.ts';
import { executeSavedCommand, type SavedRun } from '../../../domain/saved-commands/execute.ts';
import {
  createSavedCommand,
  deleteSavedCommand,
  getSavedCommand,
  listSavedPage,
  updateSavedCommand,
} from '../../../domain/saved-commands/store.ts';
import { type MountedRoute, mount } from '../../mount.ts';

/** Seconds a command may run when a client names no time, as dex has it. */
const DEFAULT_TIMEOUT_SECONDS = 30;

/** `/api/v1/commands/saved` as dex clients know it. */
export function dexSavedCommandRoutes(deps: DomainDeps): MountedRoute[] {
  return [
    mount(dexListSavedRoute, async (request) => {
      const items = await listAll(deps, request);
      return { status: 200, body: items.map(presentSaved) };
    }),
    mount(dexCreateSavedRoute, async (request) => {
      const content = newContent(request.body);
      const saved = await createSavedCommand(deps, request, content, request.idempotencyKey);
      return { status: 201, body: presentSaved(saved) };
    }),
    mount(dexGetSavedRoute, async (request) => {
      const saved = await getSavedCommand(deps, request, request.params.savedCommandId);
      return { status: 200, body: presentSaved(saved) };
    }),
    mount(dexUpdateSavedRoute, async (request) => {
      const { savedCommandId: id } = request.params;
      const saved = await updateSavedCommand(deps, request, id, (present) => changeOf(request.body, present));
      return { status: 200, body: presentSaved(saved) };
    }),
    mount(dexDeleteSavedRoute, async (request) => {
      await deleteSavedCommand(deps, request, request.params.savedCommandId);
      return { status: 200, body: { message: 'Command deleted successfully' } };
    }),
    mount(dexExecuteSavedRoute, async (request) => {
      const { agent_ids: agentIds, timeout, queue } = request.body;
      const isQueueing = request.query.queue ?? queue ?? false;
      const parameters = Object.fromEntries(
        // A form sends what was left empty: the default applies.
        Object.entries(request.body.parameters ?? {}).filter(([, value]) => value !== null && value !== ''),
      );
      const timeoutMs = Math.round((timeout ?? DEFAULT_TIMEOUT_SECONDS) * 1000);
      const execution = {
        agentIds,
        parameters,
        timeoutMs,
        // Whoever was told that it was sent does not expect it to start long after.
        ...(isQueueing ? {} : { expiryMs: timeoutMs }),
        preferPowershell: true,
        allowUndeclared: true,
        onlyConnected: !isQueueing,
      };
      const { savedCommandId: id } = request.params;
      const run = await executeSavedCommand(deps, request, id, execution, request.idempotencyKey);
      return { status: 200, body: await presentRun(deps, request, run, agentIds, isQueueing) };
    }),
  ];
}

/** They are bounded (MAX_SAVED_COMMANDS), and dex has no pages. */
async function listAll(deps: DomainDeps, actor: Actor): Promise<SavedCommandView[]> {
  const items: SavedCommandView[] = [];
  let cursor: string | undefined;
  do {
    const page = await listSavedPage(deps, actor, { limit: MAX_PAGE_SIZE, cursor });
    items.push(...page.items);
    cursor = page.nextCursor ?? undefined;
  } while (cursor !== undefined);
  return items;
}

const shownKinds: readonly ScriptKind[] = ['any', 'powershell', 'pwsh', 'sh', 'bash', 'cmd'];

/** Which of the scripts a dex client sees as the command. */
const shownKind = (scripts: SavedScripts): ScriptKind =>
  shownKinds.find((kind) => scripts[kind] !== undefined) ?? 'any';

type DexParameters = NonNullable<DexSavedBody['parameters']>;

const parametersOf = (parameters: DexParameters): SavedParameter[] =>
  parameters.map((one) => ({
    name: one.name,
    type: one.type,
    description: one.description ?? null,
    required: one.required ?? false,
    // An empty default is none.
    default: one.default === '' ? null : (one.default ?? null),
    // Forms send them whatever the type.
    options: one.type === 'choice' ? (one.options ?? []) : [],
    min: null,
    max: null,
  }));

const newContent = (body: DexSavedBody): SavedContent => ({
  name: body.name,
  description: body.description ?? null,
  category: body.category ?? 'general',
  tags: body.tags ?? [],
  scripts: { any: body.command },
  parameters: parametersOf(body.parameters ?? []),
  version: body.version ?? '1.0',
  author: body.author ?? null,
  autoApprove: false,
});

function changeOf(body: Partial<DexSavedBody>, present: SavedContent): SavedChange {
  const { command, parameters } = body;
  return {
    ...(body.name !== undefined && { name: body.name }),
    ...(body.description !== undefined && { description: body.description }),
    ...(body.category && { category: body.category }),
    ...(body.tags && { tags: body.tags }),
    ...(command !== undefined && {
      scripts: { ...present.scripts, [shownKind(present.scripts)]: command },
    }),
    ...(parameters && { parameters: withBounds(parametersOf(parameters), present.parameters) }),
    ...(body.version && { version: body.version }),
    ...(body.author !== undefined && { author: body.author }),
  };
}

/** Dex clients do not see bounds: what they send back as it was keeps them. */
const withBounds = (parameters: SavedParameter[], before: readonly SavedParameter[]): SavedParameter[] =>
  parameters.map((one) => {
    const same = before.find(({ name, type }) => name === one.name && type === one.type);
    return same === undefined ? one : { ...one, min: same.min, max: same.max };
  });

const presentSaved = (saved: SavedCommandView): DexSavedCommand => ({
  id: saved.id,
  name: saved.name,
  command: saved.scripts[shownKind(saved.scripts)] ?? '',
  description: saved.description,
  category: saved.category,
  parameters: saved.parameters.map(({ name, type, default: value, description, required, options }) => ({
    name,
    type,
    default: value,
    description,
    required,
    options,
  })),
  tags: saved.tags,
  version: saved.version,
  author: saved.author,
  is_system: saved.isSystem,
  created_at: saved.createdAt,
  updated_at: saved.updatedAt,
});

async function presentRun(
  deps: DomainDeps,
  actor: Actor,
  run: SavedRun,
  agentIds: readonly string[],
  isQueueing: boolean,
): Promise<DexSavedRun> {
  const batches = await Promise.all(run.batchIds.map((batchId) => getBatch(deps, actor, batchId)));
  const commands = new Map(batches.flatMap((batch) => batch.commands.map((one) => [one.agentId, one])));
  const refused = new Map(run.refused.map((one) => [one.agentId, one]));
  const results = [...new Set(agentIds)].map((agentId) => {
    const command = commands.get(agentId);
    if (command === undefined) {
      return { agent_id: agentId, success: false as const, error: refusalText(refused.get(agentId)) };
    }
    const isWaiting = isQueueing && command.state === 'queued';
    return {
      agent_id: agentId,
      command_id: command.commandId,
      status: isWaiting ? ('queued' as const) : ('sent' as const),
      message: isWaiting ? 'Command waits for the agent' : 'Command sent to agent successfully',
      shell: command.shell ?? '',
    };
  });
  return {
    command_id: run.savedCommandId,
    command_name: run.name,
    executed_command:
      batches[0]?.commands[0]?.text ?? run.content.scripts[shownKind(run.content.scripts)] ?? '',
    results,
  };
}

const refusalTexts: Readonly<Record<string, string>> = {
  agent_not_found: 'Agent not found',
  // To dex an agent that was revoked is deleted.
  agent_revoked: 'Agent not found',
  agent_not_connected: 'Agent not connected',
};

const refusalText = (refused: SavedRun['refused'][number] | undefined): string =>
  refusalTexts[refused?.code ?? ''] ?? refused?.message ?? 'Agent not found';
