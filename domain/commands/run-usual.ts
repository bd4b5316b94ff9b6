/**
 * The usual ad-hoc batch: agents that can be used, and an act that says all itself. One statement checks the agents
 * and inserts everything; where it finds an agent out of the ordinary it writes nothing, and the general way (run.ts)
 * looks closer and says what is wrong.
 */

import { type Act, actDigest, adHocBinding } from '../../contracts/act.ts';
import type { RunCommandsBody } from '../../contracts/commands.ts';
import { isProblem } from '../../contracts/errors.ts';
import { insertUsualBatch } from '../../db/command-inserts.ts';
import type { Actor, DomainDeps } from '../deps.ts';
import { newId } from '../new-ids.ts';
import { announce, auditEntry } from '../transact.ts';
import { buildAct } from './act-request.ts';
import { isShellName } from './agents.ts';
import { batchAudit, type InsertedBatch, ordersOf } from './insert.ts';

type Run = Pick<RunCommandsBody, 'agentIds' | 'act'>;

/** The batch, or undefined when it is not a usual one: nothing was written then. */
export async function runUsual(
  deps: DomainDeps,
  actor: Actor,
  body: Run,
): Promise<InsertedBatch | undefined> {
  const agentIds = [...new Set(body.agentIds)];
  const made = usualAct(deps, body, agentIds);
  if (made === undefined) return undefined;
  const { act, defaultShell } = made;
  const batchId = newId();
  const digest = actDigest(act, adHocBinding);
  const { principal } = actor;
  const commands = agentIds.map((agentId) => ({ agentId, commandId: newId() }));
  const local = deps.sockets?.epochsOf(agentIds) ?? new Map<string, number>();
  const inserted = await insertUsualBatch(deps.db, {
    batchId,
    act: { digest, act, binding: adHocBinding },
    taskId: null,
    runNo: null,
    stepNo: null,
    workflowId: null,
    attempt: 1,
    creator: { kind: principal.kind, id: principal.id, name: principal.name },
    ownerId: principal.id,
    local,
    commands,
    defaultShell,
    audit: auditEntry(actor, batchAudit(batchId, digest, adHocBinding, commands)),
  });
  if (inserted === undefined) return undefined;
  const orders = ordersOf({ act, binding: adHocBinding, digest }, inserted.commands, local);
  if (orders.length > 0) deps.sockets?.dispatch(orders);
  const waiting = inserted.commands.filter((command) => command.state === 'queued');
  announce(deps, { events: inserted.events, agents: waiting.map((command) => command.agentId) });
  return { batchId, act, created: true };
}

/**
 * The act, with the default shell it was made for (null when it names its own); undefined when it cannot be made
 * without the agents' rows, or not at all.
 */
function usualAct(
  deps: DomainDeps,
  { act: request }: Run,
  agentIds: readonly string[],
): { act: Act; defaultShell: string | null } | undefined {
  const needsShell = request.argv === undefined && request.shell === undefined;
  const [agentId = ''] = agentIds;
  const said = needsShell ? (deps.sockets?.defaultShellOf(agentId) ?? null) : null;
  if (needsShell && !isShellName(said)) return undefined;
  try {
    const act = buildAct(request, deps.limits, { shell: () => (isShellName(said) ? said : 'sh') });
    return { act, defaultShell: said };
  } catch (error) {
    // Said by the general way, which asks for the agents first.
    if (isProblem(error, 'validation_failed')) return undefined;
    throw error;
  }
}
