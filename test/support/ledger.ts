/** What tests of the ledger and the bridge say often: run, wait, download, look into the rows. */
import { randomUUID } from 'node:crypto';
import type { BatchView, CommandView } from '../../contracts/commands.ts';
import { query } from '../../db/database.ts';
import { connectScriptedAgent, type ScriptedAgent, type ScriptedAgentOptions } from './scripted-agent.ts';
import type { RequestOptions, System } from './system.ts';

export type RunRequest = {
  agents: string[];
  act: Record<string, unknown>;
  commandId?: string;
  waitMs?: number;
} & RequestOptions;

export const isFinal = (command: CommandView): boolean =>
  !['queued', 'sent', 'running'].includes(command.state);

/** The only element; fails when there is another number of them. */
export function only<T>(items: readonly T[]): T {
  const [first] = items;
  if (first === undefined || items.length !== 1) throw new Error(`expected one item, got ${items.length}`);
  return first;
}

export function ledgerOf(system: System) {
  const db = () => system.api.parts.db;
  const ledger = {
    post: ({ agents, act, commandId, waitMs, ...options }: RunRequest) =>
      system.request<BatchView>(
        'POST',
        '/v1/commands',
        {
          agentIds: agents,
          act,
          ...(commandId === undefined ? {} : { commandId }),
          ...(waitMs === undefined ? {} : { waitMs }),
        },
        options,
      ),
    async run(request: RunRequest): Promise<BatchView> {
      const reply = await ledger.post(request);
      if (reply.status >= 300) throw new Error(`${reply.status}: ${JSON.stringify(reply.body)}`);
      return reply.body;
    },
    /** Run on one agent without waiting. */
    start: async (agentId: string, command = 'true', act: Record<string, unknown> = {}) =>
      only((await ledger.run({ agents: [agentId], act: { command, ...act } })).commands),
    command: (commandId: string) => system.call<CommandView>('GET', `/v1/commands/${commandId}`),
    batch: (batchId: string) => system.call<BatchView>('GET', `/v1/batches/${batchId}`),
    until: (commandId: string, state: CommandView['state'] | 'final', timeoutMs?: number) =>
      system.until(
        () => ledger.command(commandId),
        (command) => (state === 'final' ? isFinal(command) : command.state === state),
        `command ${commandId} to be ${state}`,
        timeoutMs,
      ),
    cancel: (commandId: string) => system.call<CommandView>('POST', `/v1/commands/${commandId}/cancel`, {}),
    async download(commandId: string, stream: 'stdout' | 'stderr', search = ''): Promise<Buffer> {
      const reply = await fetch(`${system.url}/v1/commands/${commandId}/output/${stream}${search}`, {
        headers: { authorization: `Bearer ${system.token()}` },
      });
      if (reply.status !== 200) throw new Error(`download answered ${reply.status}`);
      return Buffer.from(await reply.arrayBuffer());
    },
    /** Rows straight from the database. */
    sql: <Row>(text: string, bindings: Record<string, unknown> = {}) => query<Row>(db(), text, bindings),
    auditCount: async (action: string, targetId: string) =>
      only(
        await query<{ count: number }>(
          db(),
          'select count(*) from audit_events where action = :action and target_id = :target',
          { action, target: targetId },
        ),
      ).count,
    events: async (commandId: string) =>
      (
        await query<{ type: string }>(
          db(),
          'select type from events where command_id = :id order by xid, id',
          { id: commandId },
        )
      ).map((row) => row.type),
    /** Enrol and connect a scripted agent; resolves after its welcome. */
    async connect(given: Partial<ScriptedAgentOptions> = {}): Promise<ConnectedAgent> {
      const identity =
        given.agentId !== undefined && given.token !== undefined
          ? { agentId: given.agentId, token: given.token }
          : await enrolled(given.agentId);
      const agent = await connectScriptedAgent({ url: system.url, ...given, ...identity });
      const { epoch, resetJournal } = await agent.take('welcome');
      return Object.assign(agent, { token: identity.token, epoch, resetJournal });
    },
  };
  const enrolled = async (agentId = `agent-${randomUUID().slice(0, 8)}`) => {
    const { agentToken } = await system.enrol(agentId);
    return { agentId, token: agentToken };
  };
  return ledger;
}

export type Ledger = ReturnType<typeof ledgerOf>;
export type ConnectedAgent = ScriptedAgent & { token: string; epoch: number; resetJournal: boolean };
