import { validate as isUuid } from 'uuid';
import type { CommandView } from '../../../contracts/commands.ts';
import { rerunBodySchema } from '../../../contracts/commands.ts';
import { problem } from '../../../contracts/errors.ts';
import { MAX_DEX_AGENTS } from '../../../contracts/families/dex/agents.ts';
import {
  type DexCommandBody,
  dexAgentCommandRoute,
  dexCancelRoute,
  dexConnectedRoutes,
  dexExecuteAsyncRoute,
  dexExecuteBatchRoute,
  dexExecuteLocalRoute,
  dexExecuteRoute,
  dexHistoryRoute,
  dexRerunRoute,
  dexResultRoute,
  dexSendRoutes,
} from '../../../contracts/families/dex/commands.ts';
import { MAX_PAGE_SIZE } from '../../../contracts/shared.ts';
import { getUsableAgent, listUsableAgents } from '../../../domain/agents/registry.ts';
import { powershells } from '../../../domain/commands/agents.ts';
import { cancelCommand } from '../../../domain/commands/cancel.ts';
import { type OutputHeads, readOutputHeads } from '../../../domain/commands/output-heads.ts';
import { getBatch, getCommand, listCommandViews } from '../../../domain/commands/read.ts';
import { rerunFailed } from '../../../domain/commands/rerun.ts';
import { type LocalAgentDeps, runOnServer } from '../../../domain/commands/run-local.ts';
import type { Actor, DomainDeps } from '../../../domain/deps.ts';
import { requestKeyOf } from '../../../domain/idempotency.ts';
import { can } from '../../../domain/policy.ts';
import { type MountedRoute, mount } from '../../mount.ts';
import { mountAll } from '../mount-all.ts';
import {
  presentExecuted,
  presentListed,
  presentResponse,
  presentResult,
  presentSent,
} from './present-command.ts';
import {
  actOf,
  headsOf,
  inDexWords,
  MAX_SHOWN_BYTES,
  onlyCommand,
  type RunDeps,
  type RunRequest,
  runOnAgent,
  runToEnd,
} from './run-command.ts';

/** Most of a stream in a list, bytes. */
const MAX_LISTED_BYTES = 4 * 1024;

export type DexCommandDeps = RunDeps & LocalAgentDeps;

/** Running commands as dex clients know it: on one agent, on the server's own machine, and what became of them. */
export function dexCommandRoutes(deps: DexCommandDeps): MountedRoute[] {
  return [
    ...waitingRoutes(deps),
    ...localRoutes(deps),
    ...sendingRoutes(deps),
    ...ledgerRoutes(deps),
    ...mountAll(dexConnectedRoutes, async (request) => {
      const agents = await listUsableAgents(deps, request, { isConnected: true }, MAX_DEX_AGENTS);
      const ids = agents.map(({ id }) => id);
      return { status: 200, body: { connected_agents: ids, count: ids.length } };
    }),
  ];
}

/** A request to run something on an agent, which may wait for it. */
type AgentRequest = RunRequest & {
  params: { agentId: string };
  query: { queue?: boolean | undefined };
  body: DexCommandBody & { queue?: boolean | null | undefined };
};
const isQueueing = ({ query, body }: Pick<AgentRequest, 'query' | 'body'>): boolean =>
  query.queue ?? body.queue ?? false;

function waitingRoutes(deps: DexCommandDeps): MountedRoute[] {
  const execute = async (request: AgentRequest): Promise<{ command: CommandView; heads: OutputHeads }> => {
    const wish = { body: request.body, isQueueing: isQueueing(request) };
    const commands = await runToEnd(deps, request, [request.body], async () => [
      await runOnAgent(deps, request, request.params.agentId, wish),
    ]);
    const command = onlyCommand(commands);
    return { command, heads: await headsOf(deps, request, command) };
  };
  return [
    mount(dexAgentCommandRoute, async (request) => {
      const { command, heads } = await execute(request);
      const isWaiting = isQueueing(request) && command.state === 'queued';
      return { status: 200, body: (isWaiting ? presentListed : presentResponse)(command, heads) };
    }),
    mount(dexExecuteRoute, async (request) => {
      const { command, heads } = await execute(request);
      return { status: 200, body: presentExecuted(command, heads, isQueueing(request)) };
    }),
  ];
}

function localRoutes(deps: DexCommandDeps): MountedRoute[] {
  const execute = async (request: RunRequest, bodies: readonly DexCommandBody[]) => {
    const acts = bodies.map((body) => actOf(deps, body, false));
    const commands = await runToEnd(deps, request, bodies, () =>
      runOnServer(deps, request, acts, request.idempotencyKey, powershells),
    );
    return presentAll(deps, request, commands, { maxBytes: MAX_SHOWN_BYTES, present: presentResponse });
  };
  return [
    mount(dexExecuteLocalRoute, async (request) => {
      const [body] = await inDexWords(() => execute(request, [request.body]), { skipIndex: true });
      if (body === undefined) throw problem('not_found');
      return { status: 200, body };
    }),
    mount(dexExecuteBatchRoute, async (request) => {
      if (request.body.length === 0) return { status: 200, body: [] };
      return { status: 200, body: await inDexWords(() => execute(request, request.body)) };
    }),
  ];
}

function sendingRoutes(deps: DexCommandDeps): MountedRoute[] {
  const send = async (request: AgentRequest) => {
    const wish = { body: request.body, isQueueing: isQueueing(request) };
    const { batchId } = await runOnAgent(deps, request, request.params.agentId, wish);
    const { commands } = await getBatch(deps, request, batchId);
    return { status: 200, body: presentSent(onlyCommand(commands), wish.isQueueing) } as const;
  };
  return [mount(dexExecuteAsyncRoute, send), ...mountAll(dexSendRoutes, send)];
}

function ledgerRoutes(deps: DexCommandDeps): MountedRoute[] {
  return [
    mount(dexHistoryRoute, async (request) => {
      const { agentId } = request.params;
      // Who sees only what is their own is not told which agents there are.
      if (can(request.principal, 'list', 'agent')) await getUsableAgent(deps, request, agentId);
      const limit = Math.min(request.query.limit, MAX_PAGE_SIZE);
      const page = await listCommandViews(deps, request, { agentId, limit, cursor: request.query.cursor });
      const body = await presentAll(deps, request, page.items, {
        maxBytes: MAX_LISTED_BYTES,
        present: presentListed,
      });
      return {
        status: 200,
        body,
        ...(page.nextCursor === null ? {} : { headers: { 'X-Next-Cursor': page.nextCursor } }),
      };
    }),
    mount(dexResultRoute, async (request) => {
      const { agentId, commandId } = request.params;
      const command = await findCommand(deps, request, commandId);
      if (command.agentId !== agentId) throw problem('command_not_found', { commandId });
      return { status: 200, body: presentResult(command, await headsOf(deps, request, command)) };
    }),
    mount(dexCancelRoute, async (request) => {
      const { commandId } = await findCommand(deps, request, request.params.commandId);
      await cancelCommand(deps, request, commandId, undefined, requestKeyOf(request, { commandId }));
      const { agentId, state } = await getCommand(deps, request, commandId);
      const message = state === 'canceled' ? 'Command canceled' : 'Command was asked to stop';
      return { status: 200, body: { message, command_id: commandId, agent_id: agentId, outcome: state } };
    }),
    mount(dexRerunRoute, async (request) => {
      const command = await findCommand(deps, request, request.params.commandId);
      const wish = rerunBodySchema.parse(request.body ?? {});
      const key = request.idempotencyKey;
      const { batchId } = await rerunFailed(deps, request, command.batchId, wish, key);
      const { commands } = await getBatch(deps, request, batchId);
      const results = commands.map((one) => presentSent(one, true));
      return { status: 200, body: { executed_command: command.text, results } };
    }),
  ];
}

/** @throws command_not_found, for what cannot be an id as well */
async function findCommand(deps: DomainDeps, actor: Actor, commandId: string): Promise<CommandView> {
  if (!isUuid(commandId)) throw problem('command_not_found', { commandId });
  return getCommand(deps, actor, commandId);
}

async function presentAll(
  deps: DomainDeps,
  actor: Actor,
  commands: readonly CommandView[],
  { maxBytes, present }: { maxBytes: number; present: typeof presentResponse },
) {
  const heads = await readOutputHeads(deps, actor, commands, maxBytes);
  return commands.flatMap((command, index) => {
    const head = heads[index];
    return head === undefined ? [] : [present(command, head)];
  });
}
