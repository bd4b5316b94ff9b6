/** Saved commands in the dialect of dex: exact bodies. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { systemCommands } from '../../migrations/system-commands.ts';
import { ledgerOf } from '../support/ledger.ts';
import { type System, startSystem, type TestAgent } from '../support/system.ts';

const time = expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/);
const uuid = expect.stringMatching(/^[0-9a-f-]{36}$/);

let system: System;
let agent: TestAgent;
beforeAll(async () => {
  system = await startSystem({ worker: false });
  agent = await system.startAgent();
});
afterAll(() => system.close());

type Body = Record<string, unknown>;
const ask = async (method: string, path: string, body?: unknown, headers: Record<string, string> = {}) => {
  const reply = await system.request<Body>(method, `/api/v1/commands/saved${path}`, body, { headers });
  return [reply.status, reply.body] as const;
};
const missing = {
  success: false,
  error: 'Command not found',
  code: 'COMMAND_NOT_FOUND',
  details: expect.anything(),
  detail: 'Command not found',
};
const create = async (facts: Body = {}): Promise<string> => {
  const [status, body] = await ask('POST', '', { name: 'Echo', command: 'echo "$Text"', ...facts });
  expect(status).toBe(201);
  return String(body.id);
};

describe('/api/v1/commands/saved', () => {
  it('creates, reads, changes, lists and deletes, with and without the last slash', async () => {
    const body = {
      name: 'Log entries',
      command: 'Get-EventLog -LogName $LogName -Newest $Count',
      description: 'The newest entries',
      category: 'logs',
      parameters: [
        { name: 'LogName', type: 'string', default: 'System', description: 'Which log', required: true },
        { name: 'Count', type: 'int', default: 10 },
      ],
      tags: ['logs', 'windows'],
      version: '1.2',
      author: 'ada',
    };
    const saved = {
      id: uuid,
      ...body,
      parameters: [
        { ...body.parameters[0], options: [] },
        { name: 'Count', type: 'integer', default: 10, description: null, required: false, options: [] },
      ],
      is_system: false,
      created_at: time,
      updated_at: time,
    };
    const [status, made] = await ask('POST', '/', body);
    expect([status, made]).toEqual([201, saved]);
    const at = `/${made.id}`;
    expect(await ask('GET', at)).toEqual([200, made]);
    expect(await ask('GET', `${at}/`)).toEqual([200, made]);
    // As clients do: they send back all they have read.
    const changed = { ...made, command: 'Get-EventLog -LogName $LogName', is_system: true };
    expect(await ask('PUT', at, changed)).toEqual([
      200,
      { ...saved, id: made.id, command: 'Get-EventLog -LogName $LogName' },
    ]);
    expect(await ask('PUT', at, { name: 'Entries' })).toMatchObject([
      200,
      { name: 'Entries', category: 'logs' },
    ]);
    const [, list] = await ask('GET', '');
    expect((list as unknown as Body[]).map(({ id }) => id)).toContain(made.id);
    expect((list as unknown as Body[]).filter((one) => one.is_system)).toHaveLength(systemCommands.length);
    expect(await system.call('GET', `/v1/saved-commands/${made.id}/revisions`)).toMatchObject({
      items: [{ revision: 3 }, { revision: 2 }, { revision: 1, scripts: { any: body.command } }],
    });
    expect(await ask('DELETE', at)).toEqual([200, { message: 'Command deleted successfully' }]);
    for (const method of ['GET', 'DELETE']) expect(await ask(method, at)).toEqual([404, missing]);
    expect(await ask('PUT', at, { name: 'x' })).toEqual([404, missing]);
    expect(await ask('POST', `${at}/execute`, { agent_ids: ['x'] })).toEqual([404, missing]);
    expect(await ask('GET', '/not-an-id')).toEqual([404, missing]);
  });

  it('keeps options of a choice alone, so that the house reads what it was given', async () => {
    const id = await create({ parameters: [{ name: 'Text', options: ['a', 'b'] }] });
    expect(await ask('GET', `/${id}`)).toMatchObject([
      200,
      { parameters: [{ type: 'string', options: [] }] },
    ]);
    const { parameters } = await system.call<Body>('GET', `/v1/saved-commands/${id}`);
    await system.call('PATCH', `/v1/saved-commands/${id}`, { description: 'x', parameters });
  });

  it('changes what is there when it is changed, not what was read before', async () => {
    const id = await create();
    const { db } = system.api.parts;
    const trx = await db.transaction();
    let change: ReturnType<typeof ask>;
    try {
      await trx.raw('select id from saved_commands where id = ? for update', [id]);
      change = ask('PUT', `/${id}`, { command: 'echo "new $Text"' });
      await expect
        .poll(
          async () =>
            (
              await db.raw<{ rows: unknown[] }>(
                `select pid from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'
                   and query like '%saved_commands%'`,
              )
            ).rows.length,
          { timeout: 30_000 },
        )
        .toBe(1);
      // Somebody else adds a script for another shell meanwhile.
      await trx.raw(
        `insert into saved_command_revisions
         select (jsonb_populate_record(r, jsonb_build_object('revision', 2, 'scripts',
           r.scripts || '{"cmd": "echo %Text%"}'))).*
         from saved_command_revisions r where r.saved_command_id = ?`,
        [id],
      );
      await trx.raw('update saved_commands set revision = 2 where id = ?', [id]);
      await trx.commit();
    } finally {
      if (!trx.isCompleted()) await trx.rollback();
    }
    expect((await change)[0]).toBe(200);
    expect(await system.call('GET', `/v1/saved-commands/${id}`)).toMatchObject({
      revision: 3,
      scripts: { any: 'echo "new $Text"', cmd: 'echo %Text%' },
    });
  });

  it('protects what comes with the system, and shows it in PowerShell', async () => {
    const [first] = systemCommands;
    expect(await ask('GET', `/${first?.id}`)).toMatchObject([
      200,
      { command: first?.scripts.powershell, is_system: true },
    ]);
    const refused = (error: string) => ({
      ...missing,
      error,
      detail: error,
      code: 'SYSTEM_COMMAND_PROTECTED',
    });
    expect(await ask('DELETE', `/${first?.id}`)).toEqual([403, refused('Cannot delete system commands')]);
    expect(await ask('PUT', `/${first?.id}`, { name: 'x' })).toEqual([
      403,
      refused('Cannot modify system commands'),
    ]);
  });

  it.each([
    ['an empty command', { name: 'x', command: '' }],
    ['no command', { name: 'x' }],
    ['an empty name', { name: '', command: 'id' }],
    ['a type that is none', { name: 'x', command: 'id', parameters: [{ name: 'a', type: 'regex' }] }],
    ['a reserved name', { name: 'x', command: 'id', parameters: [{ name: 'PATH' }] }],
    ['a choice of nothing', { name: 'x', command: 'id', parameters: [{ name: 'a', type: 'select' }] }],
    [
      'an option of two lines',
      { name: 'x', command: 'id', parameters: [{ name: 'a', type: 'choice', options: ['b\nc'] }] },
    ],
  ])('refuses %s', async (_what, body) => {
    expect(await ask('POST', '', body)).toMatchObject([
      422,
      { code: 'VALIDATION_ERROR', detail: [{ loc: expect.any(Array) }] },
    ]);
  });
});

describe('execute', () => {
  it('runs on many agents, in the default shell where there is no PowerShell, and says what it could not', async () => {
    const away = await system.enrol('dex-away');
    await system.enrol('dex-deleted');
    await system.call('DELETE', '/api/v1/agents/dex-deleted');
    const id = await create({ parameters: [{ name: 'Text', required: true }] });
    const [status, body] = await ask('POST', `/${id}/execute`, {
      agent_ids: [agent.agentId, away.agentId, 'dex-deleted', 'nobody'],
      parameters: { Text: "it's $(id)" },
      timeout: 20,
    });
    expect([status, body]).toEqual([
      200,
      {
        command_id: id,
        command_name: 'Echo',
        executed_command: `Text='it'\\''s $(id)'\necho "$Text"`,
        results: [
          {
            agent_id: agent.agentId,
            command_id: uuid,
            status: 'sent',
            message: 'Command sent to agent successfully',
            shell: expect.stringMatching(/^(ba)?sh$/),
          },
          { agent_id: away.agentId, success: false, error: 'Agent not connected' },
          { agent_id: 'dex-deleted', success: false, error: 'Agent not found' },
          { agent_id: 'nobody', success: false, error: 'Agent not found' },
        ],
      },
    ]);
    const [sent] = body.results as { command_id: string }[];
    const ledger = ledgerOf(system);
    const done = await ledger.until(sent?.command_id ?? '', 'final');
    expect(done).toMatchObject({ state: 'succeeded', timeoutMs: 20_000 });
    // Told as sent: it would not have been started hours later.
    expect(Date.parse(done.expiresAt) - Date.parse(done.createdAt)).toBeLessThan(60_000);
    expect(String(await ledger.download(done.commandId, 'stdout'))).toBe("it's $(id)\n");
  });

  it('asks for PowerShell where the agent has it', async () => {
    const both = await system.enrol('dex-both');
    await system.api.parts
      .db('agents')
      .where({ id: both.agentId })
      .update({ shells: ['bash', 'pwsh'], default_shell: 'bash' });
    const id = await create();
    const body = { agent_ids: [both.agentId], parameters: { Text: 'x' } };
    const sent = { agent_id: both.agentId, command_id: uuid, status: 'queued', message: expect.any(String) };
    for (const [query, wish] of [
      ['?queue=true', body],
      ['', { ...body, queue: true }],
    ] as const) {
      expect(await ask('POST', `/${id}/execute${query}`, wish)).toMatchObject([
        200,
        { executed_command: `$Text = 'x'\necho "$Text"`, results: [{ ...sent, shell: 'pwsh' }] },
      ]);
    }
    // Nobody was reached: the text as it is saved.
    expect(await ask('POST', `/${id}/execute`, body)).toMatchObject([
      200,
      { executed_command: 'echo "$Text"', results: [{ success: false, error: 'Agent not connected' }] },
    ]);
  });

  it('takes values that were not declared where the command reads them, and defaults for empty ones', async () => {
    const id = await create({ parameters: [] });
    const one = { agent_ids: [agent.agentId] };
    expect(
      await ask('POST', `/${id}/execute`, { ...one, parameters: { Text: 'a', Other: 'b' } }),
    ).toMatchObject([200, { executed_command: `Text='a'\necho "$Text"` }]);
    const typed = await create({ parameters: [{ name: 'Text', type: 'number', default: 4 }] });
    expect(await ask('POST', `/${typed}/execute`, { ...one, parameters: { Text: '' } })).toMatchObject([
      200,
      { executed_command: `Text='4'\necho "$Text"` },
    ]);
    expect((await ask('POST', `/${typed}/execute`, { ...one, parameters: { Text: 'x' } }))[0]).toBe(422);
    expect((await ask('POST', `/${typed}/execute`, { ...one, timeout: 301 }))[0]).toBe(422);
    expect((await ask('POST', `/${typed}/execute`, { agent_ids: [] }))[0]).toBe(422);
  });

  it('runs once per Idempotency-Key', async () => {
    const id = await create();
    const body = { agent_ids: [agent.agentId], parameters: { Text: 'once' } };
    const key = { 'idempotency-key': 'dex-run-once' };
    const first = await ask('POST', `/${id}/execute`, body, key);
    expect(await ask('POST', `/${id}/execute`, body, key)).toEqual(first);
  });

  it('is closed to strangers and to those who may not run commands', async () => {
    const id = await create();
    const reply = await fetch(`${system.url}/api/v1/commands/saved/${id}/execute`, { method: 'POST' });
    expect(reply.status).toBe(401);
  });
});
