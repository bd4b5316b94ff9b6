/**
 * Agents that are asked at an address of their own come into the registry.
 *
 *  A. An address stands for one agent. Whoever may register agents may say so again, which is how such an agent is heard
 *     of; the shared token and enrolment tokens do not speak for one that was given a token of its own.
 *  B. Nothing that the guard does not let out is registered, and nothing that does not answer.
 *  C. Registrations of one address come one after the other.
 */
import { v7 as newId } from 'uuid';
import { problem } from '../../contracts/errors.ts';
import type { Principal } from '../../contracts/principal.ts';
import { insertAgent, updateAgent } from '../../db/agent-changes.ts';
import { lockHostname } from '../../db/agent-registration.ts';
import { findAgent } from '../../db/agents.ts';
import type { Queryable } from '../../db/database.ts';
import { isEnrolmentTokenGood, useEnrolmentToken } from '../../db/enrolment-tokens.ts';
import { findUrlAgent, findUrlAgentAt, markUrlAgentSeen, writeUrlAgent } from '../../db/url-agents.ts';
import { plainText } from '../agents/plain-text.ts';
import { issueAgentToken } from '../agents/tokens.ts';
import type { Actor } from '../deps.ts';
import { hashToken } from '../identity/opaque-tokens.ts';
import { assertCan } from '../policy.ts';
import { recordDenial, transact, type Unit } from '../transact.ts';
import { normalUrl, type UrlAgentDeps, urlTokenName } from './deps.ts';
import { probe } from './probe.ts';

export interface UrlRegistration {
  name: string;
  url: string;
  role: string;
  /** What the agent wants to be asked with; kept sealed. */
  token?: string | undefined;
}

/** Who registers: somebody who may, or whoever brings an enrolment token. */
export type Registrar =
  | { actor: Actor }
  | { enrolmentToken: string; origin: Pick<Actor, 'address' | 'requestId'> };

export interface UrlRegistered {
  agentId: string;
  isNew: boolean;
  /** Its own, shown here only: for a new agent that came with an enrolment token. */
  agentToken: string | null;
}

/** @throws forbidden, enrolment_token_invalid, agent_url_unreachable, agent_exists, agent_revoked */
export async function registerUrlAgent(
  deps: UrlAgentDeps,
  registrar: Registrar,
  wish: UrlRegistration,
): Promise<UrlRegistered> {
  const url = normalUrl(wish.url);
  const facts = { ...wish, url, name: plainText(wish.name), role: plainText(wish.role) };
  if ('actor' in registrar) await assertMayRegister(deps, registrar.actor, url);
  else await assertIsToken(deps, registrar, facts.name);
  await probe(deps, url); // B
  return transact(deps, async (unit) => {
    await lockHostname(unit.trx, url); // C
    // Somebody else may have registered the address while it was looked for.
    if ('actor' in registrar) await assertMayRegister({ db: unit.trx }, registrar.actor, url);
    return 'actor' in registrar
      ? write(unit, deps, registrar.actor, facts, { ownId: ownIdOf(registrar.actor) })
      : enrol(unit, deps, registrar, facts);
  });
}

const ownIdOf = ({ principal }: Pick<Actor, 'principal'>): string | undefined =>
  principal.kind === 'agent' ? principal.id : undefined;

/** An agent that asks by its own token speaks for itself alone. */
async function assertMayRegister(
  { db }: { db: Queryable },
  { principal }: Actor,
  url: string,
): Promise<void> {
  assertCan(principal, 'register', 'agent', ownIdOf({ principal }));
  const known = await findUrlAgentAt(db, url);
  if (known === undefined) return;
  if (principal.kind === 'agent' && known.agentId !== principal.id)
    throw problem('agent_exists', { agentId: known.agentId });
  const agent = await findAgent(db, known.agentId);
  if (principal.kind === 'system' && agent?.hasOwnToken === true)
    throw problem('agent_exists', { agentId: known.agentId }); // A
}

/** Before anything is dialed: a stranger must not make us look around. */
async function assertIsToken(
  deps: UrlAgentDeps,
  { enrolmentToken, origin }: Extract<Registrar, { enrolmentToken: string }>,
  name: string,
): Promise<void> {
  if (await isEnrolmentTokenGood(deps.db, hashToken(enrolmentToken))) return;
  await recordDenial(deps, actorOf(enrolmentPrincipal(name), origin), {
    action: 'agent.register',
    targetKind: 'agent',
    targetId: name,
    details: { reason: 'enrolment_token_invalid' },
  });
  throw problem('enrolment_token_invalid');
}

async function enrol(
  unit: Unit,
  deps: UrlAgentDeps,
  { enrolmentToken, origin }: Extract<Registrar, { enrolmentToken: string }>,
  facts: UrlRegistration,
): Promise<UrlRegistered> {
  const known = await findUrlAgentAt(unit.trx, facts.url);
  if (known !== undefined && (await findAgent(unit.trx, known.agentId))?.hasOwnToken === true)
    throw problem('agent_exists', { agentId: known.agentId }); // A
  const used = await useEnrolmentToken(unit.trx, hashToken(enrolmentToken));
  if (!used) throw problem('enrolment_token_invalid');
  const done = await write(unit, deps, actorOf(enrolmentPrincipal(facts.name), origin), facts, {
    tags: used.tags,
  });
  return { ...done, agentToken: await issueAgentToken(unit.trx, done.agentId) };
}

const enrolmentPrincipal = (name: string): Principal => ({
  kind: 'agent',
  id: name,
  name,
  roles: ['agent'],
  sessionId: null,
});

const actorOf = (principal: Principal, origin: Pick<Actor, 'address' | 'requestId'>): Actor => ({
  principal,
  address: origin.address,
  requestId: origin.requestId,
});

/** In the transaction of whoever found out that it may be. */
export async function write(
  unit: Unit,
  deps: Pick<UrlAgentDeps, 'secrets'>,
  actor: Actor,
  { name, url, role, token }: UrlRegistration,
  {
    tags = [],
    ownId,
    isSeen = true,
  }: { tags?: readonly string[]; ownId?: string | undefined; isSeen?: boolean } = {},
): Promise<UrlRegistered> {
  const own = ownId === undefined ? undefined : await findUrlAgent(unit.trx, ownId);
  const known = own ?? (await findUrlAgentAt(unit.trx, url));
  const agentId = ownId ?? known?.agentId ?? newId();
  if (known === undefined && ownId === undefined) {
    const nothing = { os: null, arch: null, version: null };
    await insertAgent(unit.trx, { id: agentId, hostname: name, ...nothing, tags });
  } else if (known?.name !== name) await updateAgent(unit.trx, agentId, { hostname: name });
  const sealedToken = token === undefined ? undefined : deps.secrets.seal(urlTokenName(agentId), token);
  await writeUrlAgent(unit.trx, { agentId, url, role, sealedToken });
  const isRisen = isSeen && (await markUrlAgentSeen(unit.trx, agentId));
  const isChanged = known === undefined || known.url !== url || known.name !== name || known.role !== role;
  // An agent that says every minute that it is there is not worth a row each time.
  if (isChanged || token !== undefined) {
    unit.audit(actor, {
      action: 'agent.register',
      targetKind: 'agent',
      targetId: agentId,
      details: { hostname: name, url, role, isNew: known === undefined, hasToken: token !== undefined },
    });
  }
  if (known === undefined) unit.emit('agent.enrolled', { agentId, data: { hostname: name, url } });
  else if (isChanged) unit.emit('agent.updated', { agentId, data: { hostname: name, url } });
  if (isRisen) unit.emit('agent.online', { agentId, data: {} });
  return { agentId, isNew: known === undefined, agentToken: null };
}
