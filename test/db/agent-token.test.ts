/** Rotating the shared agent token: what it replaces, for how long, and who may. */
import jwt from 'jsonwebtoken';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { currentAgentToken, rotateAgentToken } from '../../domain/identity/agent-token.ts';
import { identify } from '../../domain/identity/identify.ts';
import { createSecretBox } from '../../domain/secret-box.ts';
import { createSettingsReader } from '../../domain/settings/reader.ts';
import {
  actorOf,
  type IdentityStack,
  readAudit,
  sharedAgentToken,
  startIdentity,
  testFernetKey,
} from '../support/identity.ts';

let stack: IdentityStack;
beforeAll(async () => {
  stack = await startIdentity();
});
afterAll(() => stack.close());

const admin = actorOf('admin');
const refused = (token: string) =>
  expect(identify(stack.deps, token)).rejects.toMatchObject({ code: 'invalid_token' });

describe('rotating the shared agent token', () => {
  it('replaces AGENT_TOKEN at once, and what was signed with it', async () => {
    const signedBefore = jwt.sign({ sub: 'hub' }, sharedAgentToken, { expiresIn: 600 });
    expect((await identify(stack.deps, signedBefore)).kind).toBe('system');
    const { newToken } = await rotateAgentToken(stack.deps, admin);
    expect(newToken).toMatch(/^sts_[\w-]{43}$/);
    expect(await identify(stack.deps, newToken)).toMatchObject({ kind: 'system', id: 'agent-token' });
    const signedAfter = jwt.sign({ sub: 'hub' }, newToken, { expiresIn: 600 });
    expect((await identify(stack.deps, signedAfter)).kind).toBe('system');
    await refused(sharedAgentToken);
    await refused(signedBefore);
  });

  it('again replaces the rotated one', async () => {
    const first = await rotateAgentToken(stack.deps, admin);
    const second = await rotateAgentToken(stack.deps, admin);
    await refused(first.newToken);
    expect((await identify(stack.deps, second.newToken)).kind).toBe('system');
  });

  it('holds until AGENT_TOKEN gets another value, and again when it gets the old one back', async () => {
    const { newToken } = await rotateAgentToken(stack.deps, admin);
    const reader = createSettingsReader({
      db: stack.db,
      secrets: createSecretBox([testFernetKey]),
      log: stack.deps.log,
      onChange() {},
    });
    await reader.ready;
    const inForce = (configured: string | null) => currentAgentToken(configured, reader.texts());
    expect(inForce(sharedAgentToken)).toBe(newToken);
    expect(inForce('a-new-value-of-the-operator')).toBe('a-new-value-of-the-operator');
    expect(inForce(null)).toBeNull();
    expect(inForce(sharedAgentToken)).toBe(newToken);
    await reader.close();
  });

  it('makes one where none was configured', async () => {
    const deps = { ...stack.deps, identity: { ...stack.deps.identity, configuredAgentToken: null } };
    const { newToken } = await rotateAgentToken(deps, admin);
    expect((await readAudit(stack.db, 'agent_token.rotate')).at(-1)?.details).toEqual({
      wasConfigured: false,
    });
    // This stack is configured with AGENT_TOKEN: for it, nothing was replaced.
    expect((await identify(stack.deps, sharedAgentToken)).kind).toBe('system');
    await refused(newToken);
  });

  it('is for administrators alone, and is told without the token', async () => {
    for (const role of ['viewer', 'user', 'operator', 'system', 'agent'] as const) {
      await expect(rotateAgentToken(stack.deps, actorOf(role))).rejects.toMatchObject({ code: 'forbidden' });
    }
    const { newToken } = await rotateAgentToken(stack.deps, admin);
    expect(stack.events.at(-1)).toMatchObject({ type: 'token.rotated', data: {} });
    const everything = JSON.stringify([
      await stack.db('settings').select(),
      await stack.db('audit_events').select(),
      await stack.db('events').select(),
    ]);
    expect(everything).not.toContain(newToken);
    expect(everything).not.toContain(sharedAgentToken);
  });

  it('is done once for an Idempotency-Key: its answer cannot be given again', async () => {
    const requestKey = { key: 'rotate-1', bodySha256: 'a'.repeat(64) };
    const { newToken } = await rotateAgentToken(stack.deps, admin, requestKey);
    await expect(rotateAgentToken(stack.deps, admin, requestKey)).rejects.toMatchObject({ code: 'conflict' });
    expect((await identify(stack.deps, newToken)).kind).toBe('system');
  });
});
