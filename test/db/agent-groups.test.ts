/** Groups of agents: named tag expressions, and who is in them. */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, it } from 'vitest';
import {
  changeGroup,
  createGroup,
  forgetGroup,
  getGroup,
  listGroupAgents,
  listGroupPage,
} from '../../domain/agents/groups.ts';
import { registerAgent } from '../../domain/agents/register.ts';
import { changeAgent } from '../../domain/agents/registry.ts';
import { bodySha256 } from '../../domain/idempotency.ts';
import { actorOf, type IdentityStack, readAudit, startIdentity } from '../support/identity.ts';

let stack: IdentityStack;
beforeAll(async () => {
  stack = await startIdentity({ withAdmin: false });
});
afterAll(() => stack.close());

const operator = actorOf('operator');
const make = (name: string, expression: string) =>
  createGroup(stack.deps, operator, { name, description: null, expression });

it('holds the agents whose tags fit now', async () => {
  const agentOf = async (hostname: string, tags: string[]) =>
    (await registerAgent(stack.deps, operator, { hostname, tags })).agent.id;
  const [web, old] = [await agentOf('g1', ['web']), await agentOf('g2', ['web', 'old'])];
  const group = await make('new web', 'web and not old');
  const ids = async () =>
    (await listGroupAgents(stack.deps, operator, group.id, { limit: 50 })).items.map((agent) => agent.id);
  expect(await ids()).toEqual([web]);
  await changeAgent(stack.deps, operator, old, { tags: ['web'] });
  expect(await ids()).toEqual([old, web]);
  await changeGroup(stack.deps, operator, group.id, { expression: 'nothing' });
  expect(await ids()).toEqual([]);
  expect(await readAudit(stack.db, 'agent_group.update')).toMatchObject([
    { target_id: group.id, details: { expression: 'nothing', previous: 'web and not old' } },
  ]);
});

it('has a name of its own, and an expression that can be read', async () => {
  const results = await Promise.allSettled(Array.from({ length: 8 }, () => make('only one', 'a')));
  const codes = results.flatMap((result) => (result.status === 'rejected' ? [result.reason.code] : []));
  expect(codes).toEqual(Array.from({ length: 7 }, () => 'conflict'));
  const other = await make('another', 'a');
  await expect(changeGroup(stack.deps, operator, other.id, { name: 'only one' })).rejects.toMatchObject({
    code: 'conflict',
  });
  expect(
    await changeGroup(stack.deps, operator, other.id, { name: 'another', description: 'text' }),
  ).toMatchObject({
    ...{ name: 'another', description: 'text', expression: 'a' },
  });
  await expect(make('bad', 'a and')).rejects.toMatchObject({
    ...{ code: 'validation_failed', issues: [{ in: 'body', path: ['expression'] }] },
  });
});

it('is made once under one Idempotency-Key, listed page by page, and forgotten', async () => {
  const wish = { name: 'keyed', description: null, expression: 'a' };
  const key = { key: 'group-1', bodySha256: bodySha256(wish) };
  const first = await createGroup(stack.deps, operator, wish, key);
  expect(await createGroup(stack.deps, operator, wish, key)).toEqual(first);
  const seen: string[] = [];
  let cursor: string | undefined;
  do {
    const page = await listGroupPage(stack.deps, operator, { limit: 1, cursor });
    seen.push(...page.items.map((group) => group.name));
    cursor = page.nextCursor ?? undefined;
  } while (cursor !== undefined);
  expect(seen).toEqual(['keyed', 'another', 'only one', 'new web']);
  await forgetGroup(stack.deps, operator, first.id);
  for (const attempt of [
    () => getGroup(stack.deps, operator, first.id),
    () => forgetGroup(stack.deps, operator, first.id),
    () => changeGroup(stack.deps, operator, randomUUID(), {}),
    () => listGroupAgents(stack.deps, operator, first.id, { limit: 1 }),
  ]) {
    await expect(attempt()).rejects.toMatchObject({ code: 'not_found' });
  }
});

it('is seen by overseers and changed by operators', async () => {
  const viewer = actorOf('viewer');
  const wish = { name: 'x', description: null, expression: 'a' };
  await listGroupPage(stack.deps, viewer, { limit: 1 });
  await expect(createGroup(stack.deps, viewer, wish)).rejects.toMatchObject({ code: 'forbidden' });
  await expect(listGroupPage(stack.deps, actorOf('user'), { limit: 1 })).rejects.toMatchObject({
    code: 'forbidden',
  });
});
