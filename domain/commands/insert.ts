/**
 * Put a batch on the ledger: act, batch, one command per agent. Row first, audit row with it, bytes later. The usual
 * ad-hoc batch has a shorter way (run-usual.ts) that leaves the same rows.
 */
import { v5 as uuidv5 } from 'uuid';
import { type Act, type ActBinding, actDigest } from '../../contracts/act.ts';
import { problem } from '../../contracts/errors.ts';
import { deliverWorkflowId } from '../../contracts/workflow-io.ts';
import { type InsertedCommand, insertBatchRows } from '../../db/command-inserts.ts';
import { findCommand } from '../../db/commands.ts';
import type { Actor, DispatchOrder, DomainDeps } from '../deps.ts';
import { newId } from '../new-ids.ts';
import type { AuditFacts, Unit } from '../transact.ts';
import type { BatchAgent } from './agents.ts';

/** Namespace of command ids derived from (task run, step, attempt, agent). */
const COMMAND_NAMESPACE = 'f6a7c1f0-0f6d-5c27-9d4b-3b8f6f1c7a10';

/** The id of the one command that this attempt of a step may be on this agent. */
export const stepCommandId = (taskRun: string, step: number, attempt: number, agentId: string): string =>
  uuidv5(`${taskRun}\n${step}\n${attempt}\n${agentId}`, COMMAND_NAMESPACE);

/** Commands that the audit row of a batch names; the others are in the ledger. */
const MAX_AUDITED_COMMANDS = 100;

export interface NewBatch {
  /** Its id, where the caller has given it away already; else a new one. */
  batchId?: string;
  act: Act;
  binding: ActBinding;
  agents: readonly BatchAgent[];
  /** The step it belongs to, or null for ad-hoc work. */
  step: null | { taskId: string; runNo: number; step: number; workflowId: string | null };
  /**
   * Work of a workflow that is no task's: which one hears `batchFinished`, and its step, which with the binding's
   * `taskRun` gives the commands their ids.
   */
  work?: { workflowId: string; step: number };
  /** Principal that may see the commands besides those who see all. */
  ownerId: string;
  /** Only ad-hoc work on one agent: the id the client chose. */
  commandId?: string | undefined;
  /** From 1, the default; raised only where a person runs again what failed. */
  attempt?: number;
}

export interface InsertedBatch {
  batchId: string;
  /** The act, where this call made the batch. */
  act?: Act;
  /** False when the command existed already with the same act. */
  created: boolean;
}

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
  const work = input.step ?? input.work ?? null;
  const batchId = input.batchId ?? newId();
  const attempt = input.attempt ?? 1;
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
    workflowId: work?.workflowId ?? null,
    attempt,
    creator: { kind: actor.principal.kind, id: actor.principal.id, name: actor.principal.name },
    ownerId: input.ownerId,
    local,
    commands: input.agents.map((agent) => ({
      agentId: agent.id,
      commandId:
        input.commandId ??
        (work === null ? newId() : stepCommandId(input.binding.taskRun, work.step, attempt, agent.id)),
    })),
  });
  // Only possible when two requests bring the same id at once: the other one committed between our look and insert.
  if (inserted.length !== input.agents.length) {
    throw problem('command_conflict', { commandId: input.commandId ?? 'of this step' });
  }
  announceBatch(unit, actor, input, batchId, digest, inserted);
  dispatchSent(unit, deps, input, digest, inserted, local);
  return { batchId, act: input.act, created: true };
}

/** What the audit trail says of a batch. */
export const batchAudit = (
  batchId: string,
  digest: string,
  binding: ActBinding,
  commands: readonly { commandId: string; agentId: string }[],
): AuditFacts => ({
  action: 'command.run',
  targetKind: 'batch',
  targetId: batchId,
  details: {
    digest,
    taskRun: binding.taskRun,
    step: binding.step,
    size: commands.length,
    commands: commands
      .slice(0, MAX_AUDITED_COMMANDS)
      .map((command) => ({ commandId: command.commandId, agentId: command.agentId })),
  },
});

function announceBatch(
  unit: Unit,
  actor: Actor,
  input: NewBatch,
  batchId: string,
  digest: string,
  inserted: readonly InsertedCommand[],
): void {
  const taskId = input.step?.taskId ?? null;
  unit.audit(actor, batchAudit(batchId, digest, input.binding, inserted));
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
    const how = delivery.get(command.agentId);
    if (how !== 'temporal' && how !== 'url') continue;
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
          ...(how === 'url' && { byUrl: true }),
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
  inserted: readonly InsertedCommand[],
  local: ReadonlyMap<string, number>,
): void {
  const orders = ordersOf({ act: input.act, binding: input.binding, digest }, inserted, local);
  if (orders.length > 0) unit.afterCommit(() => deps.sockets?.dispatch(orders));
}

/** What the sockets of this process, with their epochs in `local`, have to send of the inserted commands. */
export const ordersOf = (
  what: Pick<DispatchOrder, 'act' | 'binding' | 'digest'>,
  inserted: readonly InsertedCommand[],
  local: ReadonlyMap<string, number>,
): DispatchOrder[] =>
  inserted.flatMap(({ commandId, agentId, state }): DispatchOrder[] => {
    const epoch = local.get(agentId);
    return state !== 'sent' || epoch === undefined ? [] : [{ commandId, agentId, epoch, ...what }];
  });
