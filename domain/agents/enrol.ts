/** How an agent gets in: somebody with the right makes an enrolment token, the agent trades it for its own token. */
import { v7 as newId } from 'uuid';
import type { EnrolmentView } from '../../contracts/agent-routes.ts';
import type { CreateEnrolmentBody, EnrolBody } from '../../contracts/agents.ts';
import { isProblem, problem } from '../../contracts/errors.ts';
import type { Principal } from '../../contracts/principal.ts';
import type { Page } from '../../contracts/shared.ts';
import { insertAgent } from '../../db/agent-changes.ts';
import {
  type EnrolmentTokenRow,
  insertEnrolmentToken,
  listEnrolmentTokens,
  revokeEnrolmentToken,
  useEnrolmentToken,
} from '../../db/enrolment-tokens.ts';
import { pageOfRows, uuidPositionOf } from '../cursor.ts';
import type { Actor, DomainDeps } from '../deps.ts';
import { claimSecretReply, type RequestKey } from '../idempotency.ts';
import { createToken, hashToken } from '../identity/opaque-tokens.ts';
import type { RequestOrigin } from '../identity/open-session.ts';
import { assertCan } from '../policy.ts';
import { recordDenial, transact } from '../transact.ts';
import { assertAgentIdFree } from './agent-ids.ts';
import { plainText } from './plain-text.ts';
import { issueAgentToken } from './tokens.ts';

/** An enrolment token as the house API shows it. */
export const presentEnrolment = (row: EnrolmentTokenRow): EnrolmentView => ({
  id: row.id,
  label: row.label,
  tags: row.tags,
  maxUses: row.maxUses,
  usedCount: row.usedCount,
  createdBy: row.createdBy,
  createdAt: row.createdAt.toISOString(),
  expiresAt: row.expiresAt.toISOString(),
  revokedAt: row.revokedAt?.toISOString() ?? null,
});

/**
 * Make an enrolment token. Its plaintext is in this answer only.
 * @throws forbidden, conflict (a repeated Idempotency-Key)
 */
export async function createEnrolment(
  deps: DomainDeps,
  actor: Actor,
  wish: CreateEnrolmentBody,
  requestKey: RequestKey | null = null,
): Promise<EnrolmentTokenRow & { enrolmentToken: string }> {
  assertCan(actor.principal, 'enrol', 'agent');
  const id = newId();
  const enrolmentToken = createToken('enrolment');
  return transact(deps, async (unit) => {
    if (requestKey) {
      await claimSecretReply(unit.trx, {
        principalId: actor.principal.id,
        ...requestKey,
        resourceKind: 'enrolment',
        resourceId: id,
      });
    }
    const row = await insertEnrolmentToken(unit.trx, {
      id,
      tokenHash: hashToken(enrolmentToken),
      label: wish.label ?? null,
      tags: [...new Set(wish.tags)],
      maxUses: wish.maxUses,
      createdBy: actor.principal.id,
      ttlMs: wish.ttlMs,
    });
    unit.audit(actor, {
      action: 'enrolment.create',
      targetKind: 'enrolment',
      targetId: id,
      details: { label: row.label, tags: row.tags, maxUses: row.maxUses, expiresAt: row.expiresAt },
    });
    return { ...row, enrolmentToken };
  });
}

/**
 * Enrolment tokens, newest first, without their plaintext.
 * @throws forbidden, invalid_cursor
 */
export async function listEnrolments(
  deps: DomainDeps,
  actor: Actor,
  query: { limit: number; cursor?: string },
): Promise<Page<EnrolmentTokenRow>> {
  assertCan(actor.principal, 'enrol', 'agent');
  const { limit } = query;
  const after = uuidPositionOf(query.cursor);
  const rows = await listEnrolmentTokens(deps.db, { after, limit: limit + 1 });
  return pageOfRows(rows, limit, (row) => ({ at: row.createdAt, id: row.id }));
}

/**
 * Refuse all further uses of an enrolment token. Agents that used it stay. Revoking again changes nothing.
 * @throws forbidden, not_found
 */
export async function revokeEnrolment(deps: DomainDeps, actor: Actor, enrolmentId: string): Promise<void> {
  assertCan(actor.principal, 'enrol', 'agent');
  await transact(deps, async (unit) => {
    const revoked = await revokeEnrolmentToken(unit.trx, enrolmentId);
    if (!revoked) throw problem('not_found');
    if (!revoked.isNew) return;
    unit.audit(actor, { action: 'enrolment.revoke', targetKind: 'enrolment', targetId: enrolmentId });
  });
}

/**
 * Trade an enrolment token for an agent and its token, shown in this answer only. A wish that is refused does not
 * use the token up.
 * @throws enrolment_token_invalid, agent_exists, validation_failed (an id that is kept for a route), conflict
 */
export async function enrolAgent(
  deps: DomainDeps,
  origin: RequestOrigin,
  body: EnrolBody,
  requestKey: RequestKey | null = null,
): Promise<{ agentId: string; agentToken: string }> {
  const wish = plainWish(body);
  const agentId = wish.agentId ?? newId();
  assertAgentIdFree(agentId);
  const actor = enrollee(agentId, wish.hostname, origin);

  try {
    return await transact(deps, async (unit) => {
      const tokenHash = hashToken(wish.enrolmentToken);
      // The key is asked first: a repeat must hear of its key, not that its own first try used the token up.
      if (requestKey) {
        await claimSecretReply(unit.trx, {
          principalId: `enrolment:${tokenHash.toString('hex')}`,
          ...requestKey,
          resourceKind: 'agent',
          resourceId: agentId,
        });
      }
      const used = await useEnrolmentToken(unit.trx, tokenHash);
      if (!used) throw problem('enrolment_token_invalid');
      const facts = { hostname: wish.hostname, tags: used.tags };
      const isNew = await insertAgent(unit.trx, {
        id: agentId,
        ...facts,
        os: wish.os ?? null,
        arch: wish.arch ?? null,
        version: wish.version ?? null,
      });
      if (!isNew) throw problem('agent_exists', { agentId });
      const agentToken = await issueAgentToken(unit.trx, agentId);
      unit.audit(actor, {
        action: 'agent.enrol',
        targetKind: 'agent',
        targetId: agentId,
        details: { ...facts, enrolmentId: used.id },
      });
      unit.emit('agent.enrolled', { agentId, data: facts });
      return { agentId, agentToken };
    });
  } catch (error) {
    if (isProblem(error, 'enrolment_token_invalid')) {
      await recordDenial(deps, actor, {
        action: 'agent.enrol',
        targetKind: 'agent',
        targetId: agentId,
        details: { hostname: wish.hostname, reason: 'enrolment_token_invalid' },
      });
    }
    throw error;
  }
}

/** Anybody may send this: what a machine says of itself ends up in lists, logs and the audit trail. */
const plainWish = (wish: EnrolBody): EnrolBody => ({
  ...wish,
  hostname: plainText(wish.hostname),
  ...(wish.os === undefined ? {} : { os: plainText(wish.os) }),
  ...(wish.arch === undefined ? {} : { arch: plainText(wish.arch) }),
  ...(wish.version === undefined ? {} : { version: plainText(wish.version) }),
});

/** The agent-to-be: nobody else asks here. */
function enrollee(agentId: string, hostname: string, origin: RequestOrigin): Actor {
  const principal: Principal = {
    kind: 'agent',
    id: agentId,
    name: hostname,
    roles: ['agent'],
    sessionId: null,
  };
  return { principal, address: origin.address, requestId: origin.requestId };
}
