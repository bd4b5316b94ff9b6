import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { OFFLINE_AFTER_MS } from '../../contracts/agents.ts';
import { findAgentsToDisconnect } from '../../db/agents.ts';
import { createEnrolment, enrolAgent, listEnrolments, revokeEnrolment } from '../../domain/agents/enrol.ts';
import { changeAgent, getAgent, listAgentPage, revokeAgent } from '../../domain/agents/registry.ts';
import { rotateAgentToken } from '../../domain/agents/tokens.ts';
import { decodeCursor, encodeCursor } from '../../domain/cursor.ts';
import { bodySha256 } from '../../domain/idempotency.ts';
import { identify } from '../../domain/identity/identify.ts';
import { actorOf, type IdentityStack, readAudit, startIdentity, testOrigin } from '../support/identity.ts';

let stack: IdentityStack;
beforeAll(async () => {
  stack = await startIdentity({ withAdmin: false });
});
afterAll(() => stack.close());

const operator = actorOf('operator');
const invite = (wish: Partial<{ tags: string[]; maxUses: number; ttlMs: number; label: string }> = {}) =>
  createEnrolment(stack.deps, operator, { tags: [], maxUses: 1, ttlMs: 60_000, ...wish });
const enrol = (enrolmentToken: string, agentId?: string) =>
  enrolAgent(stack.deps, testOrigin, { enrolmentToken, hostname: 'web-1', agentId });
const enrolNew = async (agentId?: string, tags: string[] = []) =>
  enrol((await invite({ tags })).enrolmentToken, agentId);
const typesOf = (agentId: string) =>
  stack.events.filter((event) => event.agentId === agentId).map((event) => event.type);

describe('enrolment', () => {
  it('turns a token into an agent with the tags of the token, audited and announced', async () => {
    const made = await invite({ tags: ['linux', 'web', 'linux'], label: 'rack 7' });
    expect(made).toMatchObject({ tags: ['linux', 'web'], usedCount: 0, createdBy: 'operator-1' });
    const { agentId, agentToken } = await enrol(made.enrolmentToken);
    expect(await getAgent(stack.deps, operator, agentId)).toMatchObject({
      hostname: 'web-1',
      tags: ['linux', 'web'],
      status: 'offline',
      revokedAt: null,
    });
    expect(await identify(stack.deps, agentToken)).toMatchObject({ kind: 'agent', id: agentId });
    expect(typesOf(agentId)).toEqual(['agent.enrolled']);
    expect(await readAudit(stack.db, 'agent.enrol')).toContainEqual({
      principal_id: agentId,
      target_id: agentId,
      outcome: 'success',
      address: testOrigin.address,
      details: { enrolmentId: made.id, hostname: 'web-1', tags: ['linux', 'web'] },
    });
  });

  it('lets one of twenty parallel uses of a one-use token through', async () => {
    const { enrolmentToken, id } = await invite();
    const results = await Promise.allSettled(Array.from({ length: 20 }, () => enrol(enrolmentToken)));
    expect(results.filter((result) => result.status === 'fulfilled')).toHaveLength(1);
    for (const result of results) {
      if (result.status === 'rejected')
        expect(result.reason).toMatchObject({ code: 'enrolment_token_invalid' });
    }
    const [row] = await stack.db('enrolment_tokens').where({ id });
    expect(row.used_count).toBe(1);
    expect(
      (await readAudit(stack.db, 'agent.enrol')).filter((entry) => entry.outcome === 'denied'),
    ).toHaveLength(19);
  });

  it('gives an id to one of twenty agents that wish for it, and uses the token up once', async () => {
    const { enrolmentToken, id } = await invite({ maxUses: 20 });
    const results = await Promise.allSettled(
      Array.from({ length: 20 }, () => enrol(enrolmentToken, 'wished-for')),
    );
    const refused = results.flatMap((result) => (result.status === 'rejected' ? [result.reason.code] : []));
    expect(refused).toEqual(Array.from({ length: 19 }, () => 'agent_exists'));
    const [row] = await stack.db('enrolment_tokens').where({ id });
    expect(row.used_count).toBe(1);
  });

  it('refuses expired, revoked and unknown tokens, and ids that routes use', async () => {
    const expired = await invite();
    await stack
      .db('enrolment_tokens')
      .where({ id: expired.id })
      .update({ expires_at: new Date(0) });
    const revoked = await invite();
    await revokeEnrolment(stack.deps, operator, revoked.id);
    await revokeEnrolment(stack.deps, operator, revoked.id);
    for (const token of [expired.enrolmentToken, revoked.enrolmentToken, 'ste_unknown', '']) {
      await expect(enrol(token)).rejects.toMatchObject({ code: 'enrolment_token_invalid' });
    }
    const good = await invite();
    await expect(enrol(good.enrolmentToken, 'Enrolments')).rejects.toMatchObject({
      code: 'validation_failed',
    });
    const missing = '0198c0de-0000-7000-8000-000000000000';
    await expect(revokeEnrolment(stack.deps, operator, missing)).rejects.toMatchObject({ code: 'not_found' });
    const revocations = await readAudit(stack.db, 'enrolment.revoke');
    expect(revocations.filter((entry) => entry.target_id === revoked.id)).toHaveLength(1);
  });

  it('never answers a secret twice under one key', async () => {
    const { enrolmentToken } = await invite({ maxUses: 5 });
    const wish = { enrolmentToken, hostname: 'web-2' };
    const key = { key: 'once', bodySha256: bodySha256(wish) };
    const first = await enrolAgent(stack.deps, testOrigin, wish, key);
    await expect(enrolAgent(stack.deps, testOrigin, wish, key)).rejects.toMatchObject({
      code: 'conflict',
      message: expect.stringContaining('shown only once'),
    });
    await expect(
      enrolAgent(stack.deps, testOrigin, wish, { ...key, bodySha256: bodySha256({}) }),
    ).rejects.toMatchObject({ code: 'idempotency_conflict' });
    const [count] = await stack.db('agents').where({ hostname: 'web-2' }).count();
    expect(count).toEqual({ count: 1 });
    expect(first.agentToken).toMatch(/^sta_/);
  });

  it('is listed page by page without secrets, and is the matter of operators', async () => {
    const seen: string[] = [];
    let cursor: string | undefined;
    do {
      const page = await listEnrolments(stack.deps, operator, { limit: 2, cursor });
      seen.push(...page.items.map((item) => item.id));
      cursor = page.nextCursor ?? undefined;
    } while (cursor !== undefined);
    const all = await stack.db('enrolment_tokens').orderBy([
      { column: 'created_at', order: 'desc' },
      { column: 'id', order: 'desc' },
    ]);
    expect(seen).toEqual(all.map((row) => row.id));
    for (const role of ['viewer', 'user', 'agent'] as const) {
      await expect(
        createEnrolment(stack.deps, actorOf(role), { tags: [], maxUses: 1, ttlMs: 1000 }),
      ).rejects.toMatchObject({ code: 'forbidden' });
      await expect(listEnrolments(stack.deps, actorOf(role), { limit: 1 })).rejects.toMatchObject({
        code: 'forbidden',
      });
    }
  });
});

describe('the registry', () => {
  it('computes the status from revocation, connection, last word and draining', async () => {
    const { agentId } = await enrolNew('status-1');
    const status = async () => (await getAgent(stack.deps, operator, agentId)).status;
    const seen = (seconds: number) =>
      stack
        .db('agent_presence')
        .insert({
          agent_id: agentId,
          last_seen_at: stack.db.raw("now() - ? * interval '1 second'", [seconds]),
        })
        .onConflict('agent_id')
        .merge();
    await seen(1);
    expect(await status()).toBe('offline');
    await stack.db('agent_connections').insert({
      agent_id: agentId,
      epoch: 1,
      bridge_id: '0198c0de-0000-7000-8000-000000000001',
      connected_at: stack.db.fn.now(),
    });
    expect(await status()).toBe('online');
    expect((await getAgent(stack.deps, operator, agentId)).connectedAt).toBeInstanceOf(Date);
    await stack.db('agent_presence').where({ agent_id: agentId }).update({ draining: true });
    expect(await status()).toBe('draining');
    const online = await listAgentPage(stack.deps, operator, { limit: 50, status: 'online' });
    expect(online.items.map((agent) => agent.id)).toEqual([agentId]);
    await seen(OFFLINE_AFTER_MS / 1000 + 1);
    expect(await status()).toBe('offline');
    await seen(1);
    await stack.db('agent_connections').where({ agent_id: agentId }).update({ bridge_id: null });
    expect(await getAgent(stack.deps, operator, agentId)).toMatchObject({
      status: 'offline',
      connectedAt: null,
    });
    await revokeAgent(stack.deps, operator, agentId);
    expect(await status()).toBe('revoked');
  });

  it('lists by keyset, newest first, by tag and status, without gaps among equal times', async () => {
    const ids = [];
    for (let i = 0; i < 5; i++) ids.push((await enrolNew(`paged-${i}`, ['paged'])).agentId);
    await stack.db('agents').whereIn('id', ids).update({ created_at: '2030-01-01T00:00:00.123Z' });
    const seen: string[] = [];
    let cursor: string | undefined;
    do {
      const page = await listAgentPage(stack.deps, operator, {
        limit: 2,
        cursor,
        tag: 'paged',
        status: 'offline',
      });
      expect(page.items.length).toBeLessThanOrEqual(2);
      seen.push(...page.items.map((agent) => agent.id));
      cursor = page.nextCursor ?? undefined;
    } while (cursor !== undefined);
    expect(seen).toEqual([...ids].reverse());
    expect((await listAgentPage(stack.deps, operator, { limit: 5, tag: 'none' })).items).toEqual([]);
  });

  it('replaces tags', async () => {
    const { agentId } = await enrolNew(undefined, ['old']);
    expect((await changeAgent(stack.deps, operator, agentId, { tags: ['b', 'a', 'b'] })).tags).toEqual([
      'b',
      'a',
    ]);
    expect((await changeAgent(stack.deps, operator, agentId, { tags: [] })).tags).toEqual([]);
    expect(typesOf(agentId)).toEqual(['agent.enrolled', 'agent.updated', 'agent.updated']);
    await expect(changeAgent(stack.deps, operator, 'nobody', { tags: [] })).rejects.toMatchObject({
      code: 'agent_not_found',
    });
    await revokeAgent(stack.deps, operator, agentId);
    await expect(changeAgent(stack.deps, operator, agentId, { tags: [] })).rejects.toMatchObject({
      code: 'agent_revoked',
    });
  });

  it('revokes once and for good', async () => {
    const { agentId, agentToken } = await enrolNew('gone');
    const results = await Promise.all(
      Array.from({ length: 5 }, () => revokeAgent(stack.deps, operator, agentId)),
    );
    for (const agent of results)
      expect(agent).toMatchObject({ status: 'revoked', revokedAt: expect.any(Date) });
    await expect(identify(stack.deps, agentToken)).rejects.toMatchObject({ code: 'invalid_token' });
    expect(typesOf(agentId)).toEqual(['agent.enrolled', 'agent.revoked']);
    expect(await readAudit(stack.db, 'agent.revoke')).toContainEqual(
      expect.objectContaining({ target_id: agentId, details: { revokedTokens: 1 } }),
    );
    await expect(enrolNew('gone')).rejects.toMatchObject({ code: 'agent_exists' });
    await expect(rotateAgentToken(stack.deps, operator, agentId)).rejects.toMatchObject({
      code: 'agent_revoked',
    });
    await expect(revokeAgent(stack.deps, operator, 'nobody')).rejects.toMatchObject({
      code: 'agent_not_found',
    });
  });

  it('leaves one good token after parallel rotations', async () => {
    const { agentId, agentToken } = await enrolNew();
    const tokens = await Promise.all(
      Array.from({ length: 10 }, () => rotateAgentToken(stack.deps, operator, agentId)),
    );
    const alive = await Promise.all(
      [agentToken, ...tokens].map((token) =>
        identify(stack.deps, token).then(
          () => true,
          () => false,
        ),
      ),
    );
    expect(alive.filter(Boolean)).toHaveLength(1);
    expect(alive[0]).toBe(false);
    await expect(rotateAgentToken(stack.deps, actorOf('system'), agentId)).rejects.toMatchObject({
      code: 'forbidden',
    });
  });

  it('names the open sockets that must be closed', async () => {
    const ids = ['stays', 'revoked-one', 'rotated', 'replaced-before'];
    const tokens = new Map<string, string>();
    for (const id of ids) tokens.set(id, (await enrolNew(id)).agentToken);
    tokens.set('replaced-before', await rotateAgentToken(stack.deps, operator, 'replaced-before'));
    for (const [agentId, token] of tokens) {
      const { credentialId } = await identify(stack.deps, token);
      await stack
        .db('agent_connections')
        .insert({ agent_id: agentId, epoch: 1, token_id: credentialId, connected_at: stack.db.fn.now() });
    }
    expect(await findAgentsToDisconnect(stack.db, ids)).toEqual([]);
    await revokeAgent(stack.deps, operator, 'revoked-one');
    await rotateAgentToken(stack.deps, operator, 'rotated');
    const found = await findAgentsToDisconnect(stack.db, [...ids, 'never-was']);
    expect(found.sort()).toEqual(['never-was', 'revoked-one', 'rotated']);
  });

  it('asks the policy everywhere', async () => {
    const { agentId } = await enrolNew();
    const viewer = actorOf('viewer');
    const stranger = actorOf('user');
    expect((await getAgent(stack.deps, viewer, agentId)).id).toBe(agentId);
    for (const attempt of [
      getAgent(stack.deps, stranger, agentId),
      listAgentPage(stack.deps, stranger, { limit: 1 }),
      changeAgent(stack.deps, viewer, agentId, { tags: [] }),
      revokeAgent(stack.deps, viewer, agentId),
      revokeAgent(stack.deps, actorOf('system'), agentId),
      rotateAgentToken(stack.deps, viewer, agentId),
      revokeEnrolment(stack.deps, viewer, agentId),
    ]) {
      await expect(attempt).rejects.toMatchObject({ code: 'forbidden' });
    }
  });
});

describe('a cursor', () => {
  it('comes back as it went', () => {
    const position = { at: new Date('2026-01-02T03:04:05.678Z'), id: 'agent:1' };
    expect(decodeCursor(encodeCursor(position.at, position.id))).toEqual(position);
  });

  const encoded = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url');
  it.each([
    '',
    '!!',
    'bm8',
    encoded({}),
    encoded([1]),
    encoded(['x', 'y']),
    encoded([1, '']),
    encoded([1, '\u0000']),
    encoded([9e15, 'x']),
  ])('is refused when it is %j', (cursor) => {
    expect(() => decodeCursor(cursor)).toThrow(expect.objectContaining({ code: 'invalid_cursor' }));
  });
});
