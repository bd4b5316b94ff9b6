/** Groups of agents: named tag expressions. Whoever may change agents may change groups. */
import { v7 as newId } from 'uuid';
import type { AgentGroupView, CreateGroupBody, UpdateGroupBody } from '../../contracts/agent-groups.ts';
import type { AgentListQuery } from '../../contracts/agents.ts';
import { problem, type SteelthreadError } from '../../contracts/errors.ts';
import type { Page } from '../../contracts/shared.ts';
import {
  type AgentGroupRow,
  deleteGroup,
  findGroup,
  insertGroup,
  listGroups,
  lockGroup,
  updateGroup,
} from '../../db/agent-groups.ts';
import type { AgentRow } from '../../db/agents.ts';
import { isSqlState, sqlStates } from '../../db/database.ts';
import { pageOfRows, uuidPositionOf } from '../cursor.ts';
import type { Actor, DomainDeps } from '../deps.ts';
import { claimRequest, type RequestKey } from '../idempotency.ts';
import { assertCan } from '../policy.ts';
import { transact } from '../transact.ts';
import { listAgentPage } from './registry.ts';
import { parseTagExpression } from './tag-expression.ts';

/** A group as the house API shows it. */
export const presentGroup = (group: AgentGroupRow): AgentGroupView => ({
  ...group,
  createdAt: group.createdAt.toISOString(),
  updatedAt: group.updatedAt.toISOString(),
});

/** @throws forbidden, validation_failed (the expression), conflict (the name), idempotency_conflict */
export async function createGroup(
  deps: DomainDeps,
  actor: Actor,
  wish: CreateGroupBody,
  requestKey: RequestKey | null = null,
): Promise<AgentGroupRow> {
  assertCan(actor.principal, 'update', 'agent');
  parseTagExpression(wish.expression, bodyPlace);
  const id = newId();
  return transact(deps, async (unit) => {
    const made = await claimRequest(unit.trx, actor.principal, requestKey, 'agent_group', id);
    if (made !== undefined) return readGroup(unit.trx, made);
    const group = await insertGroup(unit.trx, { id, ...wish, createdBy: actor.principal.id });
    if (group === undefined) throw nameTaken(wish.name);
    const details = { name: group.name, expression: group.expression };
    unit.audit(actor, { action: 'agent_group.create', targetKind: 'agent_group', targetId: id, details });
    return group;
  });
}

/** Newest first. @throws forbidden, invalid_cursor */
export async function listGroupPage(
  deps: DomainDeps,
  actor: Actor,
  query: { limit: number; cursor?: string | undefined },
): Promise<Page<AgentGroupRow>> {
  assertCan(actor.principal, 'list', 'agent');
  const after = uuidPositionOf(query.cursor);
  const rows = await listGroups(deps.db, { after, limit: query.limit + 1 });
  return pageOfRows(rows, query.limit, (group) => ({ at: group.createdAt, id: group.id }));
}

/** @throws forbidden, not_found */
export async function getGroup(deps: DomainDeps, actor: Actor, groupId: string): Promise<AgentGroupRow> {
  assertCan(actor.principal, 'read', 'agent');
  return readGroup(deps.db, groupId);
}

/** Change what is named. @throws forbidden, not_found, validation_failed (the expression), conflict (the name) */
export async function changeGroup(
  deps: DomainDeps,
  actor: Actor,
  groupId: string,
  change: UpdateGroupBody,
): Promise<AgentGroupRow> {
  assertCan(actor.principal, 'update', 'agent');
  if (change.expression !== undefined) parseTagExpression(change.expression, bodyPlace);
  return transact(deps, async (unit) => {
    const before = await lockGroup(unit.trx, groupId);
    if (before === undefined) throw problem('not_found');
    const { name = before.name, description = before.description, expression = before.expression } = change;
    const group = await updateGroup(unit.trx, { id: groupId, name, description, expression }).catch(
      (error: unknown) => {
        // Somebody else took it while this looked.
        if (isSqlState(error, sqlStates.uniqueViolation)) return undefined;
        throw error;
      },
    );
    if (group === undefined) throw nameTaken(name);
    const details = { name, expression, previous: before.expression };
    unit.audit(actor, {
      action: 'agent_group.update',
      targetKind: 'agent_group',
      targetId: groupId,
      details,
    });
    return group;
  });
}

/** Its agents stay as they are. @throws forbidden, not_found */
export async function forgetGroup(deps: DomainDeps, actor: Actor, groupId: string): Promise<void> {
  assertCan(actor.principal, 'update', 'agent');
  await transact(deps, async (unit) => {
    const group = await deleteGroup(unit.trx, groupId);
    if (group === undefined) throw problem('not_found');
    const details = { name: group.name, expression: group.expression };
    unit.audit(actor, {
      action: 'agent_group.delete',
      targetKind: 'agent_group',
      targetId: groupId,
      details,
    });
  });
}

/** The agents that are in it now. @throws forbidden, not_found, invalid_cursor */
export async function listGroupAgents(
  deps: DomainDeps,
  actor: Actor,
  groupId: string,
  query: Omit<AgentListQuery, 'match'>,
): Promise<Page<AgentRow>> {
  const { expression } = await getGroup(deps, actor, groupId);
  return listAgentPage(deps, actor, { ...query, match: expression });
}

async function readGroup(db: Parameters<typeof findGroup>[0], groupId: string): Promise<AgentGroupRow> {
  const group = await findGroup(db, groupId);
  if (group === undefined) throw problem('not_found');
  return group;
}

const bodyPlace = { in: 'body', path: ['expression'] } as const;

const nameTaken = (name: string): SteelthreadError =>
  problem('conflict', { reason: `another group has the name ${name}` });
