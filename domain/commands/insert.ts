/** Put a batch on the ledger: act, batch, one command per agent. Row first, audit row with it, bytes later. */
import { v5 as uuidv5, v7 as uuidv7 } from 'uuid';
import { type Act, type ActBinding, actDigest } from '../../contracts/act.ts';
import { problem } from '../../contracts/errors.ts';
import { deliverWorkflowId } from '../../contracts/workflow-io.ts';
import { insertBatchRows } from '../../db/command-inserts.ts';
import { findCommand } from '../../db/commands.ts';
import type { Actor, DispatchOrder, DomainDeps } from '../deps.ts';
import type { Unit } from '../transact.ts';
import type { BatchAgent } from './agents.ts';

/** Namespace of command ids derived from (task run, step, attempt, agent). */
const COMMAND_NAMESPACE = 'f6a7c1f0-0f6d-5c27-9d4b-3b8f6f1c7a10';

/** The id of the one command that this attempt of a step may be on this agent. */
export const stepCommandId = (taskRun: string, step: number, attempt: number, agentId: string): string =>
  uuidv5(`${taskRun}\n${step}\n${attempt}\n${agentId}`, COMMAND_NAMESPACE);

export interface NewBatch {
  /** Its id, where the caller has given it away already; else a new one. */
  batchId?: string;
  act: Act;
  binding: ActBinding;
  agents: readonly BatchAgent[];
  /** The step it belongs to, or null for ad-hoc work. */
  step: null | { taskId: string; runNo: number; step: number; workflowId: string };
  /** Principal that may see the commands besides those who see all. */
  ownerId: string;
  /** Only ad-hoc work on one agent: the id the client chose. */
  commandId?: string | undefined;
}

export interface InsertedBatch {
  batchId: string;
  /** False when the command existed already with the same act. */
  created: boolean;
}

type Inserted = { commandId: string; agentId: string; state: 'queued' | 'sent' };

/** @throws command_conflict when the id exists with another act or agent */
export async function insertBatch(
  unit: Unit,
  deps: DomainDeps,
  actor: Actor,
  input: NewBatch,
): Promise<InsertedBatch> {
  const digest = actDigest(input.act, input.binding);
  if (input.commandId !== undefined) {
    const existing = await findCommand(unit.trx, input.commandId);
    if (existing !== undefined) {
      if (existing.digest !== digest || existing.agentId !== input.agents[0]?.id) {
        throw problem('command_conflict', { commandId: input.commandId });
      }
      return { batchId: existing.batchId, created: false };
    }
  }
  const batchId = input.batchId ?? uuidv7();
  const attempt = 1;
  const websocketAgents = input.agents
    .filter((agent) => agent.delivery === 'websocket')
    .map((agent) => agent.id);
  const local = deps.sockets?.epochsOf(websocketAgents) ?? new Map<string, number>();
  const inserted = await insertBatchRows(unit.trx, {
    batchId,
    act: { digest, act: input.act, binding: input.binding },
    taskId: input.step?.taskId ?? null,
    runNo: input.step?.runNo ?? null,
    stepNo: input.step?.step ?? null,
    workflowId: input.step?.workflowId ?? null,
    attempt,
    creator: { kind: actor.principal.kind, id: actor.principal.id, name: actor.principal.name },
    ownerId: input.ownerId,
    local,
    commands: input.agents.map((agent) => ({
      agentId: agent.id,
      commandId:
        input.commandId ??
        (input.step === null
          ? uuidv7()
          : stepCommandId(input.binding.taskRun, input.step.step, attempt, agent.id)),
    })),
  });
  // Only possible when two requests bring the same id at once: the other one committed between our look and insert.
  if (inserted.length !== input.agents.length) {
    throw problem('command_conflict', { commandId: input.commandId ?? 'of this step' });
  }
  announceBatch(unit, actor, input, batchId, digest, inserted);
  dispatchSent(unit, deps, input, digest, inserted, local);
  return { batchId, created: true };
}

function announceBatch(
  unit: Unit,
  actor: Actor,
  input: NewBatch,
  batchId: string,
  digest: string,
  inserted: readonly Inserted[],
): void {
  const taskId = input.step?.taskId ?? null;
  unit.audit(actor, {
    action: 'command.run',
    targetKind: 'batch',
    targetId: batchId,
    details: {
      digest,
      taskRun: input.binding.taskRun,
      step: input.binding.step,
      size: inserted.length,
      commands: inserted
        .slice(0, 100)
        .map((command) => ({ commandId: command.commandId, agentId: command.agentId })),
    },
  });
  for (const command of inserted) {
    unit.emit(command.state === 'sent' ? 'command.sent' : 'command.queued', {
      commandId: command.commandId,
      batchId,
      agentId: command.agentId,
      taskId,
      ownerId: input.ownerId,
      data: { step: input.step?.step ?? null },
    });
  }
  const delivery = new Map(input.agents.map((agent) => [agent.id, agent.delivery]));
  for (const command of inserted) {
    if (delivery.get(command.agentId) !== 'temporal') continue;
    unit.outbox({
      workflowId: deliverWorkflowId(command.commandId),
      kind: 'start_delivery',
      payload: {
        input: {
          commandId: command.commandId,
          digest,
          agentId: command.agentId,
          expiresAtMs: Date.now() + input.act.expiryMs,
          timeoutMs: input.act.timeoutMs,
        },
      },
    });
  }
  unit.wakeAgents(inserted.filter((command) => command.state === 'queued').map((command) => command.agentId));
}

/** What is committed as sent leaves right after the commit, by the socket that holds the epoch. */
function dispatchSent(
  unit: Unit,
  deps: DomainDeps,
  input: NewBatch,
  digest: string,
  inserted: readonly Inserted[],
  local: ReadonlyMap<string, number>,
): void {
  const orders = inserted.flatMap((command): DispatchOrder[] => {
    const epoch = local.get(command.agentId);
    if (command.state !== 'sent' || epoch === undefined) return [];
    return [
      {
        commandId: command.commandId,
        agentId: command.agentId,
        epoch,
        digest,
        act: input.act,
        binding: input.binding,
      },
    ];
  });
  if (orders.length > 0) unit.afterCommit(() => deps.sockets?.dispatch(orders));
}
