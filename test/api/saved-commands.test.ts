/** `/v1/saved-commands`: revisions, rights, runs on real agents. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { BatchView } from '../../contracts/commands.ts';
import type { SavedCommandView, SavedRevisionView } from '../../contracts/saved-commands.ts';
import { query } from '../../db/database.ts';
import { listRevisionsSql, listSavedSql } from '../../db/saved-commands.ts';
import { findAutoApproval } from '../../domain/saved-commands/auto-approve.ts';
import { systemCommands } from '../../migrations/system-commands.ts';
import { ledgerOf } from '../support/ledger.ts';
import { type System, startSystem, type TestAgent } from '../support/system.ts';
import { deskOf } from '../support/tasks.ts';

interface Run {
  runId: string;
  revision: number;
  batches: BatchView[];
  refused: { agentId: string; code: string; message: string }[];
}

const NOBODY = '01890000-0000-7000-8000-000000000000';
const path = '/v1/saved-commands';

let system: System;
let agent: TestAgent;
beforeAll(async () => {
  system = await startSystem({ worker: false });
  agent = await system.startAgent();
});
afterAll(() => system.close());

const save = (facts: object = {}, headers: Record<string, string> = {}) =>
  system.call<SavedCommandView>(
    'POST',
    path,
    { name: 'greet', scripts: { sh: 'printf %s "$who"' }, parameters: [{ name: 'who' }], ...facts },
    { headers },
  );
const execute = (id: string, body: object, headers: Record<string, string> = {}) =>
  system.request<Run>('POST', `${path}/${id}/execute`, { agentIds: [agent.agentId], ...body }, { headers });
const audits = (action: string, id: string) =>
  query<{ details: Record<string, unknown> }>(
    system.api.parts.db,
    'select details from audit_events where action = :action and target_id = :id order by id',
    { action, id },
  );

describe('saved commands', () => {
  it('that come with the system are listed, found by category and tag, and protected', async () => {
    const all = await system.call<{ items: SavedCommandView[]; nextCursor: string | null }>(
      'GET',
      `${path}?limit=200`,
    );
    const brought = all.items.filter(({ isSystem }) => isSystem);
    expect(brought.map(({ id }) => id).sort()).toEqual(systemCommands.map(({ id }) => id).sort());
    for (const one of brought) {
      const source = systemCommands.find(({ id }) => id === one.id);
      expect(one.scripts).toEqual(source?.scripts);
      expect(one.parameters).toEqual(source?.parameters);
      expect(one.tags).toEqual(source?.tags);
    }
    const network = await system.call<{ items: SavedCommandView[] }>(
      'GET',
      `${path}?category=network&tag=security`,
    );
    expect(network.items.map(({ name }) => name)).toEqual(['Listening ports']);
    const [first] = brought;
    const id = first?.id ?? '';
    for (const [method, at, body] of [
      ['PATCH', id, { name: 'mine' }],
      ['DELETE', id, undefined],
      ['POST', `${id}/revisions/1/restore`, undefined],
    ] as const) {
      expect(await system.request(method, `${path}/${at}`, body)).toMatchObject({
        status: 403,
        body: { code: 'system_command_protected' },
      });
    }
  });

  it('are paged without gaps', async () => {
    for (let i = 0; i < 3; i++) await save({ name: `page ${i}` });
    const seen: string[] = [];
    let cursor: string | null = '';
    while (cursor !== null) {
      const search: string = cursor === '' ? '' : `&cursor=${cursor}`;
      const page: { items: SavedCommandView[]; nextCursor: string | null } = await system.call(
        'GET',
        `${path}?limit=5${search}`,
      );
      seen.push(...page.items.map(({ id }) => id));
      cursor = page.nextCursor;
    }
    expect(new Set(seen).size).toBe(seen.length);
    expect(seen.length).toBeGreaterThanOrEqual(systemCommands.length + 3);
    expect((await system.request('GET', `${path}?cursor=x`)).status).toBe(422);
  });

  it('keep every revision, say who wrote it, and go back', async () => {
    const saved = await save();
    expect(saved).toMatchObject({ revision: 1, isSystem: false, category: 'general', version: '1.0' });
    const changed = await system.call<SavedCommandView>('PATCH', `${path}/${saved.id}`, {
      scripts: { sh: 'echo "$who"' },
      revision: 1,
    });
    expect(changed).toMatchObject({ revision: 2, name: 'greet', editedBy: { kind: 'user', name: 'admin' } });
    // The same again is no revision.
    expect(await system.call('PATCH', `${path}/${saved.id}`, { name: 'greet' })).toMatchObject({
      revision: 2,
    });
    expect(await system.request('PATCH', `${path}/${saved.id}`, { name: 'x', revision: 1 })).toMatchObject({
      status: 409,
    });
    const back = await system.call<SavedCommandView>('POST', `${path}/${saved.id}/revisions/1/restore`);
    expect(back).toMatchObject({ revision: 3, scripts: saved.scripts });
    expect((await system.request('POST', `${path}/${saved.id}/revisions/9/restore`)).status).toBe(404);
    type Page = { items: SavedRevisionView[]; nextCursor: string };
    const first = await system.call<Page>('GET', `${path}/${saved.id}/revisions?limit=2`);
    const rest = await system.call<Page>(
      'GET',
      `${path}/${saved.id}/revisions?limit=2&cursor=${first.nextCursor}`,
    );
    expect([...first.items, ...rest.items].map(({ revision }) => revision)).toEqual([3, 2, 1]);
    expect(rest.nextCursor).toBeNull();
    expect(await audits('saved_command.update', saved.id)).toMatchObject([
      { details: { revision: 2, name: 'greet' } },
      { details: { revision: 3 } },
    ]);
  });

  it('two changes at once are two revisions', async () => {
    const { id } = await save();
    await Promise.all(
      ['a', 'b', 'c', 'd'].map((name) => system.call('PATCH', `${path}/${id}`, { description: name })),
    );
    expect(await system.call('GET', `${path}/${id}`)).toMatchObject({ revision: 5 });
  });

  it('are gone when deleted, with their revisions', async () => {
    const { id } = await save();
    expect((await system.request('DELETE', `${path}/${id}`)).status).toBe(204);
    for (const [method, at, body] of [
      ['GET', id, undefined],
      ['PATCH', id, { name: 'x' }],
      ['DELETE', id, undefined],
      ['GET', `${id}/revisions`, undefined],
      ['POST', `${id}/execute`, { agentIds: [agent.agentId] }],
    ] as const) {
      expect((await system.request(method, `${path}/${at}`, body)).status, `${method} ${at}`).toBe(404);
    }
    expect(await audits('saved_command.delete', id)).toHaveLength(1);
  });

  it('are made once per Idempotency-Key', async () => {
    const headers = { 'idempotency-key': 'save-once' };
    const [first, second] = await Promise.all([save({}, headers), save({}, headers)]);
    expect(second.id).toBe(first.id);
    const other = await system.request('POST', path, { name: 'other', scripts: { sh: 'id' } }, { headers });
    expect(other).toMatchObject({ status: 422, body: { code: 'idempotency_conflict' } });
  });

  it.each([
    ['no script', { name: 'x', scripts: {} }],
    ['a shell that is none', { name: 'x', scripts: { zsh: 'id' } }],
    ['a reserved name', { name: 'x', scripts: { sh: 'id' }, parameters: [{ name: 'PATH' }] }],
    ['a name that is no variable', { name: 'x', scripts: { sh: 'id' }, parameters: [{ name: 'a-b' }] }],
    [
      'a choice without options',
      { name: 'x', scripts: { sh: 'id' }, parameters: [{ name: 'a', type: 'choice' }] },
    ],
    ['a claim to be of the system', { name: 'x', scripts: { sh: 'id' }, isSystem: true }],
    ['a name of two lines', { name: 'x\ny', scripts: { sh: 'id' } }],
  ])('are refused with %s', async (_what, body) => {
    expect(await system.request('POST', path, body)).toMatchObject({
      status: 422,
      body: { code: 'validation_failed' },
    });
  });

  it('may run undecided only when someone says so who may decide, and only as written', async () => {
    const desk = deskOf(system);
    const operator = await desk.addUser('operator', 'saving-operator');
    const token = (
      await system.call<{ token: string }>(
        'POST',
        '/v1/auth/tokens',
        { name: 'saver', scopes: ['commands'], expiresInDays: 1 },
        { token: operator },
      )
    ).token;
    const body = {
      name: 'tidy',
      scripts: { sh: 'df -P "$path"' },
      parameters: [{ name: 'path', type: 'path' }],
    };
    const wish = { ...body, autoApprove: true };
    expect((await system.request('POST', path, wish, { token })).status).toBe(403);
    const plain = await system.call<SavedCommandView>('POST', path, body, { token });
    const saved = await system.call<SavedCommandView>('POST', path, wish, { token: operator });
    // Nor may it change what runs undecided.
    const change = { scripts: { sh: 'rm -rf "$path"' } };
    expect((await system.request('PATCH', `${path}/${saved.id}`, change, { token })).status).toBe(403);
    expect((await system.request('PATCH', `${path}/${plain.id}`, change, { token })).status).toBe(200);
    const { db } = system.api.parts;
    const script = 'path=\'/var\'\ndf -P "$path"';
    expect(await findAutoApproval(db, { shell: 'sh', script })).toEqual({
      savedCommandId: saved.id,
      revision: 1,
      name: 'tidy',
    });
    for (const other of [
      'df -P "$path"',
      `${script}\nid`,
      script.replace('/var', '../x'),
      'rm -rf "$path"',
    ]) {
      expect(await findAutoApproval(db, { shell: 'sh', script: other }), other).toBeUndefined();
    }
    await system.call('DELETE', `${path}/${saved.id}`);
    expect(await findAutoApproval(db, { shell: 'sh', script })).toBeUndefined();
  });
});

describe('running one', () => {
  it('gives the script the very bytes of the value, and the shell nothing to act upon', async () => {
    const { id } = await save();
    const who = `'; touch pwned; $(touch pwned) \`id\` "\\ ü🚀\n-rf`;
    const reply = await execute(id, { parameters: { who }, waitMs: 20_000 });
    expect(reply.status).toBe(201);
    const [batch] = reply.body.batches;
    const [command] = batch?.commands ?? [];
    expect(command).toMatchObject({ state: 'succeeded', agentId: agent.agentId });
    const ledger = ledgerOf(system);
    expect(String(await ledger.download(command?.commandId ?? '', 'stdout'))).toBe(who);
    expect(await audits('saved_command.execute', id)).toMatchObject([
      { details: { revision: 1, refused: 0, batchIds: [batch?.batchId] } },
    ]);
  });

  it('checks parameters before anything is sent', async () => {
    const { id } = await save({
      scripts: { sh: 'echo "$n"' },
      parameters: [{ name: 'n', type: 'integer', required: true, min: 1, max: 9 }],
    });
    for (const parameters of [{}, { n: 10 }, { n: '1; id' }, { n: true }, { n: 1, m: 2 }]) {
      const reply = await execute(id, { parameters });
      expect(reply, JSON.stringify(parameters)).toMatchObject({
        status: 422,
        body: { code: 'validation_failed' },
      });
    }
    expect(await execute(id, { parameters: { n: 1 }, timeoutMs: 10_000_000 })).toMatchObject({
      status: 422,
      body: { errors: [{ pointer: '/timeoutMs' }] },
    });
    const count = await query<{ n: number }>(
      system.api.parts.db,
      'select count(*) as n from saved_command_runs where saved_command_id = :id',
      { id },
    );
    expect(count).toEqual([{ n: 0 }]);
  });

  it('makes one batch for each shell, and names the agents that get none', async () => {
    const desk = await system.enrol('saved-pwsh');
    const cmd = await system.enrol('saved-cmd');
    const gone = await system.enrol('saved-gone');
    await system.call('POST', `/v1/agents/${gone.agentId}/revoke`);
    const { db } = system.api.parts;
    await db('agents')
      .where({ id: desk.agentId })
      .update({ shells: ['pwsh'], default_shell: 'pwsh' });
    await db('agents')
      .where({ id: cmd.agentId })
      .update({ shells: ['cmd'], default_shell: 'cmd' });
    const { id } = await save({ scripts: { sh: 'echo "$who"', powershell: 'Write-Output $who' } });
    const agentIds = [agent.agentId, desk.agentId, cmd.agentId, gone.agentId, 'nobody', agent.agentId];
    const reply = await execute(id, { agentIds, parameters: { who: "it's" } });
    expect(reply.status).toBe(201);
    const commands = reply.body.batches.flatMap((batch) => batch.commands);
    expect(commands.map(({ agentId, shell, text }) => ({ agentId, shell, text }))).toEqual([
      {
        agentId: agent.agentId,
        shell: expect.stringMatching(/^(ba)?sh$/),
        text: `who='it'\\''s'\necho "$who"`,
      },
      { agentId: desk.agentId, shell: 'pwsh', text: `$who = 'it''s'\nWrite-Output $who` },
    ]);
    expect(reply.body.refused.map(({ agentId, code }) => [agentId, code])).toEqual([
      [cmd.agentId, 'conflict'],
      [gone.agentId, 'agent_revoked'],
      ['nobody', 'agent_not_found'],
    ]);
    expect((await execute(id, { agentIds: ['nobody'], parameters: { who: 'x' } })).status).toBe(404);
    expect((await execute(id, { agentIds: [cmd.agentId], parameters: { who: 'x' } })).status).toBe(409);
  });

  it('happens once per Idempotency-Key, also when the command has changed since', async () => {
    const { id } = await save();
    const headers = { 'idempotency-key': 'run-once' };
    const body = { parameters: { who: 'you' } };
    const replies = await Promise.all([execute(id, body, headers), execute(id, body, headers)]);
    expect(replies.map(({ status }) => status).sort()).toEqual([200, 201]);
    await system.call('PATCH', `${path}/${id}`, { scripts: { sh: 'echo no' }, parameters: [] });
    const again = await execute(id, body, headers);
    expect(again).toMatchObject({ status: 200, body: { runId: replies[0]?.body.runId, revision: 1 } });
    expect(again.body.batches.map(({ batchId }) => batchId)).toEqual(
      replies[0]?.body.batches.map(({ batchId }) => batchId),
    );
    expect((await execute(id, { parameters: { who: 'me' } }, headers)).status).toBe(422);
  });

  it('takes the right to run commands', async () => {
    const desk = deskOf(system);
    const { id } = await save();
    for (const role of ['viewer', 'user'] as const) {
      const token = await desk.addUser(role, `saved-${role}`);
      const body = { agentIds: [agent.agentId] };
      expect((await system.request('POST', `${path}/${id}/execute`, body, { token })).status).toBe(403);
      expect((await system.request('POST', path, {}, { token })).status).toBe(403);
    }
  });

  it.each(systemCommands.map((command) => [command.name, command] as const))(
    '%s of the system runs on an agent',
    async (_name, command) => {
      const samples: Record<string, unknown> = {
        name: 'node',
        service: 'cron',
        port: 1,
        path: process.execPath,
      };
      const required = command.parameters.flatMap((one) => {
        const { name, required: isRequired } = one as { name: string; required: boolean };
        return isRequired ? [[name, samples[name]]] : [];
      });
      const reply = await execute(command.id, { parameters: Object.fromEntries(required), waitMs: 30_000 });
      expect(reply.body.batches?.[0]?.commands[0]).toMatchObject({ state: 'succeeded', exitCode: 0 });
    },
  );
});

it('the lists use their indexes', async () => {
  const { db } = system.api.parts;
  const explain = async (sql: string, bindings: object): Promise<string> =>
    db.transaction(async (trx) => {
      // The tables are small here: what the planner does when they are not.
      await trx.raw('set local enable_seqscan = off');
      const named = Object.fromEntries(
        Object.entries(bindings).map(([name, value]) => [name, value ?? null]),
      );
      const { rows } = await trx.raw(`explain ${sql}`, named);
      return JSON.stringify(rows);
    });
  const before = { at: new Date(), id: NOBODY };
  for (const filter of [{}, { category: 'network' }, { tag: 'health' }, { before }]) {
    const { sql, bindings } = listSavedSql({ before: undefined, limit: 50, ...filter });
    expect(await explain(sql, bindings)).toContain('saved_commands_list_idx');
  }
  const revisions = listRevisionsSql(NOBODY, { before: undefined, limit: 50 });
  expect(await explain(revisions.sql, revisions.bindings)).toContain('saved_command_revisions_pkey');
});
