/** The short ways of an ad-hoc batch and of agents' reports leave the same rows as the general ones, or none. */
import { randomUUID } from 'node:crypto';
import { setImmediate } from 'node:timers/promises';
import { v7 as uuidv7 } from 'uuid';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type ActBinding, adHocBinding } from '../../contracts/act.ts';
import { lockConnection, takeConnection } from '../../db/agent-connections.ts';
import { findCommand } from '../../db/commands.ts';
import { createDatabase, type Db, execute, inTransaction, query, type Trx } from '../../db/database.ts';
import { type EventRow, readEvents } from '../../db/events.ts';
import { buildAct } from '../../domain/commands/act-request.ts';
import { getBatchAgents } from '../../domain/commands/agents.ts';
import { insertBatch } from '../../domain/commands/insert.ts';
import { recordReports } from '../../domain/commands/record.ts';
import { recordUsual } from '../../domain/commands/record-usual.ts';
import type { Report } from '../../domain/commands/report.ts';
import { runCommands } from '../../domain/commands/run.ts';
import { runUsual } from '../../domain/commands/run-usual.ts';
import { fitHere, fitTargets } from '../../domain/commands/target-wish.ts';
import type { Actor, Announcer, DispatchOrder, DomainDeps, FinishedBatch } from '../../domain/deps.ts';
import { transact } from '../../domain/transact.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { outputFrame, resultFrame, startedFrame, summaryOf } from '../support/scripted-agent.ts';

const journalId = randomUUID();
const actor: Actor = {
  principal: { kind: 'user', id: 'u', name: 'ada', roles: ['admin'], sessionId: null },
  address: '192.0.2.1',
  requestId: 'r',
};
let database: TestDatabase;
let db: Db;
let deps: DomainDeps;
let dispatched: DispatchOrder[] = [];
let woken: string[] = [];
let finished: FinishedBatch[] = [];
const announced: EventRow[] = [];

beforeAll(async () => {
  database = await createTestDatabase();
  db = createDatabase({ url: database.url, poolMax: 4, applicationName: 'test-usual' });
  const silent = () => undefined;
  const announce: Announcer = {
    events: (rows) => void announced.push(...rows),
    agents: (ids) => void woken.push(...ids),
    output: silent,
    outbox: silent,
    batches: (batches) => void finished.push(...batches),
  };
  deps = {
    db,
    log: { debug: silent, info: silent, warn: silent, error: silent },
    announce,
    limits: { defaultTimeoutMs: 30_000, maxTimeoutMs: 300_000, outputCapBytes: 1024 },
    sockets: {
      epochsOf: (ids) => new Map(ids.filter((id) => id.startsWith('here')).map((id) => [id, 1])),
      defaultShellOf: (id) => (id.startsWith('here') ? 'bash' : undefined),
      shellsOf: (id) =>
        id.startsWith('here') ? { os: 'Linux', shells: ['bash'], defaultShell: 'bash' } : undefined,
      dispatch: (orders) => void dispatched.push(...orders),
    },
  };
  for (const id of ['here', 'here-too', 'away', 'here-sh', 'here-gone', 'here-temporal']) {
    await db('agents').insert({
      id,
      hostname: id,
      default_shell: id === 'here-sh' ? 'sh' : 'bash',
      delivery: id === 'here-temporal' ? 'temporal' : 'websocket',
      revoked_at: id === 'here-gone' ? new Date() : null,
    });
    if (!id.startsWith('here')) continue;
    await db.transaction(async (trx) => {
      await lockConnection(trx, id);
      await takeConnection(trx, { agentId: id, epoch: 1, journalId, journalSeq: 0, bridgeId: randomUUID() });
    });
  }
});
afterAll(async () => {
  await db.destroy();
  await database.drop();
});

/** What was announced of a batch, and what is stored of it: the short ways put together what they did not read. */
async function expectAnnouncedAsStored(batchId: string): Promise<void> {
  const { rows } = await readEvents(db, { xid: '0' });
  const byId = (events: readonly EventRow[]) =>
    events.filter((event) => event.batchId === batchId).toSorted((a, b) => a.id - b.id);
  const stored = byId(rows);
  expect(stored.length).toBeGreaterThan(0);
  expect(byId(announced)).toEqual(stored);
}

/** Everything written about a batch, with its ids and times told apart only by being there. */
async function rowsAbout(batchId: string): Promise<unknown> {
  const of = (sql: string) =>
    query<{ row: Record<string, unknown> }>(db, sql, { id: batchId }).then((rows) =>
      rows.map(({ row }) => row),
    );
  const commands = await of(
    'select to_jsonb(c) as row from commands c where batch_id = cast(:id as uuid) order by agent_id',
  );
  const found = {
    commands,
    acts: await of(
      'select to_jsonb(a) as row from acts a join batches b on b.digest = a.digest where b.id = cast(:id as uuid)',
    ),
    batches: await of('select to_jsonb(b) as row from batches b where id = cast(:id as uuid)'),
    events: await of(
      'select to_jsonb(e) as row from events e where batch_id = cast(:id as uuid) order by agent_id, e.id',
    ),
    audits: await of('select to_jsonb(a) as row from audit_events a where target_id = cast(:id as text)'),
    outbox: await of(
      `select to_jsonb(o) as row from outbox o where payload -> 'arg' ->> 'batchId' = cast(:id as text)`,
    ),
  };
  const names = new Map([[batchId, 'the batch']]);
  for (const [n, command] of commands.entries()) {
    names.set(String(command.command_id), `command ${n}`);
    names.set(String(command.task_id), 'the task');
    names.set(`${command.task_id}/1`, 'the run');
    names.set(String(command.digest), 'the digest');
  }
  return JSON.parse(JSON.stringify(found), (key, value) => {
    if (typeof value === 'string' && names.has(value)) return names.get(value);
    if (value !== null && (/_at$|^at$/.test(key) || ['id', 'xid'].includes(key))) return 'some';
    return value;
  });
}

const run = { agentIds: ['here', 'here-too', 'here'], act: { argv: ['true'], timeoutMs: 1_000 } };

describe('an ad-hoc batch', () => {
  it('leaves the same rows and orders the usual and the general way', async () => {
    for (const agentIds of [['here', 'here-too', 'here'], ['here', 'away'], ['here'], ['away']]) {
      const seen = [];
      for (const way of ['usual', 'general']) {
        dispatched = [];
        woken = [];
        const body = { ...run, agentIds };
        const made =
          way === 'usual'
            ? await runUsual(deps, actor, body)
            : await runCommands(deps, actor, body, randomUUID()); // A key may stand for a batch that is there.
        if (made === undefined) throw new Error('not usual');
        await expectAnnouncedAsStored(made.batchId);
        const orders = dispatched.map(({ commandId: _, ...order }) => order);
        seen.push({ rows: await rowsAbout(made.batchId), orders, woken, created: made.created });
      }
      expect(seen[0]).toEqual(seen[1]);
    }
  });

  it('for a default shell is usual where the connected agents have that shell', async () => {
    const script = { act: { command: 'exit 0' } };
    const made = await runUsual(deps, actor, { ...script, agentIds: ['here', 'here-too'] });
    expect(made?.act).toMatchObject({ mode: 'shell', shell: 'bash' });
    expect(await runUsual(deps, actor, { ...script, agentIds: ['here', 'here-sh'] })).toBeUndefined();
    expect(await runUsual(deps, actor, { ...script, agentIds: ['away'] })).toBeUndefined();
    const general = runCommands(deps, actor, { ...script, agentIds: ['here', 'here-sh'] }, null);
    await expect(general).rejects.toMatchObject({ code: 'conflict' });
  });

  it('with wishes about its agents is the same, whether their hellos or their rows are asked', async () => {
    await query(db, `update agents set shells = '{bash}' where id = any(cast(:ids as text[]))`, {
      ids: ['here', 'here-too'],
    });
    const body = { act: { command: 'exit 0' }, agentIds: ['here', 'here-too'] };
    for (const preferredShells of [['pwsh'], ['pwsh', 'bash'], undefined] as const) {
      const wish = { onlyConnected: true, ...(preferredShells && { preferredShells: [...preferredShells] }) };
      const fromRows = (await fitTargets(db, body.agentIds, wish)).withShell(body.act);
      expect(fitHere(deps.sockets, body, wish)).toEqual(fromRows);
      expect((await runCommands(deps, actor, body, null, wish)).act).toMatchObject({ shell: 'bash' });
    }
    const wish = { onlyConnected: true };
    expect(fitHere(deps.sockets, { ...body, agentIds: ['here', 'away'] }, wish)).toBeUndefined();
    for (const [agentId, code] of [
      ['away', 'agent_not_connected'],
      ['here-gone', 'agent_revoked'],
    ] as const) {
      const refused = runCommands(deps, actor, { ...body, agentIds: [agentId] }, null, wish);
      await expect(refused).rejects.toMatchObject({ code });
    }
  });

  it('with an agent out of the ordinary writes nothing, and the general way says what is wrong', async () => {
    const count = async () => (await query<{ n: number }>(db, 'select count(*) as n from batches'))[0]?.n;
    const before = await count();
    for (const [agentId, code] of [
      ['nobody', 'agent_not_found'],
      ['here-gone', 'agent_revoked'],
    ] as const) {
      const body = { ...run, agentIds: ['here', agentId] };
      expect(await runUsual(deps, actor, body)).toBeUndefined();
      await expect(runCommands(deps, actor, body, null)).rejects.toMatchObject({ code });
    }
    const invalid = { agentIds: ['nobody'], act: { argv: ['true'], timeoutMs: 10_000_000 } };
    await expect(runCommands(deps, actor, invalid, null)).rejects.toMatchObject({ code: 'agent_not_found' });
    expect(await runUsual(deps, actor, { ...run, agentIds: ['here-temporal'] })).toBeUndefined();
    expect(await count()).toBe(before);
    expect(await query(db, `select 1 from acts where digest not in (select digest from batches)`)).toEqual(
      [],
    );
  });
});

interface Sent {
  batchId: string;
  commands: { commandId: string; digest: string; agentId: string }[];
}

/** A batch that is out at its agents, ad-hoc or of a step that a workflow waits for. */
async function send(
  kind: 'ad-hoc' | 'step',
  agentIds: readonly string[] = ['here', 'here-too'],
): Promise<Sent> {
  const taskId = uuidv7();
  if (kind === 'step') {
    await db('tasks').insert({ ...taskRow, id: taskId, public_id: `task-${taskId}` });
  }
  const binding: ActBinding =
    kind === 'ad-hoc' ? adHocBinding : { taskRun: `${taskId}/1`, step: 1, proposalId: 'p' };
  const { batchId } = await transact(deps, async (unit) =>
    insertBatch(unit, deps, actor, {
      act: buildAct(run.act, deps.limits, { shell: () => 'sh' }),
      binding,
      agents: await getBatchAgents(unit.trx, agentIds),
      step: kind === 'ad-hoc' ? null : { taskId, runNo: 1, step: 1, workflowId: 'workflow' },
      ownerId: 'u',
    }),
  );
  const rows = await query<{ command_id: string; digest: string; agent_id: string }>(
    db,
    'select command_id, digest, agent_id from commands where batch_id = :batch_id order by agent_id',
    { batch_id: batchId },
  );
  return {
    batchId,
    commands: rows.map((row) => ({
      commandId: row.command_id,
      digest: row.digest,
      agentId: row.agent_id,
    })),
  };
}
const taskRow = {
  title: 't',
  goal: 'g',
  state: 'running',
  mode: 'auto',
  creator_kind: 'user',
  creator_id: 'u',
  creator_name: 'ada',
  target: {},
  max_steps: 25,
  deadline_at: new Date(Date.now() + 60_000),
  approval_timeout_ms: 1_000,
  command_timeout_ms: 1_000,
  expiry_ms: 60_000,
};

type Frames = (command: Sent['commands'][number]) => Report['frame'][];
const reportsOf = (sent: Sent, frames: Frames): Report[] =>
  sent.commands.flatMap((command) =>
    frames(command).map((frame) => ({ agentId: command.agentId, journalId, frame })),
  );

const scenarios: Record<string, Frames[]> = {
  'starts and ends at once': [(c) => [startedFrame(c), resultFrame(c)]],
  'ends without a start': [(c) => [resultFrame(c, { outcome: 'canceled', exitCode: null, reason: 'why' })]],
  'starts, writes, and fails': [
    (c) => [startedFrame(c)],
    (c) => [outputFrame(c, 'stdout', 0, 'abc')],
    (c) => [
      resultFrame(c, {
        outcome: 'failed',
        exitCode: 3,
        reason: 'tab\tin it',
        signal: 'SIGHUP',
        stdout: { ...summaryOf('abc'), totalBytes: 9 },
      }),
    ],
  ],
};

describe('reports of a command that', () => {
  for (const [name, flushes] of Object.entries(scenarios)) {
    for (const [kind, agentIds] of [
      ['ad-hoc', ['here', 'here-too']],
      ['ad-hoc', ['here']],
      ['step', ['here', 'here-too']],
      ['step', ['here']],
    ] as const) {
      it(`${name} (${kind}, ${agentIds.length}) leave the same rows and acks the usual and the general way`, async () => {
        const seen = [];
        for (const way of ['usual', 'general']) {
          const sent = await send(kind, agentIds);
          const acks = [];
          finished = [];
          for (const frames of flushes) {
            // A frame that comes twice is nothing usual, and counts once.
            const twice: Frames = (c) => frames(c).flatMap((frame) => [frame, frame]);
            const reports = reportsOf(sent, way === 'usual' ? frames : twice);
            const isOutput = reports.some(({ frame }) => frame.type === 'output');
            acks.push(await recordReports(deps, reports));
            if (way === 'usual' && !isOutput) expect(await recordUsual(deps, reports)).toEqual(new Set());
          }
          await expectAnnouncedAsStored(sent.batchId);
          const isTold = finished.map(({ batch, commands }) => [batch.id, commands.length]);
          expect(isTold).toEqual(way === 'usual' ? [[sent.batchId, agentIds.length]] : []);
          seen.push({
            rows: await rowsAbout(sent.batchId),
            acks: acks.map((list) => list.map((a) => a.kind)),
          });
        }
        const [usual, general] = seen;
        expect(usual).toEqual(general);
        expect(usual?.rows).toMatchObject({
          batches: [{ pending: 0, finished_at: 'some' }],
          outbox: kind === 'step' ? [{ workflow_id: 'workflow' }] : [],
        });
      });
    }
  }

  it('is not as expected are left to the general way', async () => {
    const sent = await send('ad-hoc', ['here']);
    const [command] = sent.commands;
    if (command === undefined) throw new Error('no command');
    const report = (frame: Report['frame'], changed: Partial<Report> = {}): Report => ({
      agentId: 'here',
      journalId,
      frame,
      ...changed,
    });
    const before = await rowsAbout(sent.batchId);
    for (const reports of [
      [report(resultFrame(command), { journalId: randomUUID() })],
      [report(resultFrame(command), { agentId: 'here-too' })],
      [report(resultFrame({ ...command, digest: '0'.repeat(64) }))],
      [report(resultFrame(command, { stdout: summaryOf('not stored') }))],
      [report(resultFrame(command, { outcome: 'unknown', exitCode: null }))],
      [report(startedFrame(command)), report(resultFrame(command), { journalId: randomUUID() })],
      [report(resultFrame(command)), report(startedFrame(command))],
      [report({ type: 'notKnown', commandId: command.commandId })],
      [report(resultFrame({ commandId: randomUUID(), digest: command.digest }))],
    ]) {
      expect(await recordUsual(deps, reports)).toEqual(new Set());
      expect(await rowsAbout(sent.batchId)).toEqual(before);
    }
  });

  it('come beside unusual ones are recorded all the same', async () => {
    const sent = await send('ad-hoc');
    const [first, second] = sent.commands;
    if (first === undefined || second === undefined) throw new Error('no commands');
    const acks = await recordReports(deps, [
      { agentId: first.agentId, journalId, frame: outputFrame(first, 'stdout', 0, 'abc') },
      { agentId: second.agentId, journalId, frame: startedFrame(second) },
      { agentId: first.agentId, journalId, frame: resultFrame(first, { stdout: summaryOf('abc') }) },
      { agentId: second.agentId, journalId, frame: resultFrame(second) },
    ]);
    expect(acks.map((ack) => ack.kind).sort()).toEqual(['output', 'result', 'result']);
    expect(await rowsAbout(sent.batchId)).toMatchObject({ batches: [{ pending: 0 }] });
  });

  it('of output above the cap say that it was cut, also when nobody learns how it ended', async () => {
    const [first] = (await send('ad-hoc')).commands;
    if (first === undefined) throw new Error('no command');
    const { agentId, commandId } = first;
    const cap = deps.limits.outputCapBytes;
    const frames = [
      startedFrame(first),
      outputFrame(first, 'stdout', 0, 'x'.repeat(cap)),
      outputFrame(first, 'stderr', 0, 'x'.repeat(cap)),
      // Sent again: nothing is cut.
      outputFrame(first, 'stderr', 0, 'x'.repeat(cap)),
      outputFrame(first, 'stdout', cap, 'abc'),
      { type: 'notKnown', commandId } as const,
    ];
    for (const frame of frames) await recordReports(deps, [{ agentId, journalId, frame }]);
    const row = await findCommand(db, commandId);
    expect(row).toMatchObject({
      state: 'unknown',
      stdout: { bytes: cap, totalBytes: cap + 3, truncated: true },
      stderr: { bytes: cap, totalBytes: cap, truncated: false },
    });
  });

  it('are recorded once by two bridges at the same time', async () => {
    for (let round = 0; round < 10; round++) {
      const sent = await send('ad-hoc');
      const reports = reportsOf(sent, (c) => [startedFrame(c), resultFrame(c)]);
      await Promise.all([recordReports(deps, reports), recordReports(deps, [...reports].reverse())]);
      await recordReports(deps, reports);
      const rows = (await rowsAbout(sent.batchId)) as { events: { type: string }[] };
      expect(rows).toMatchObject({ batches: [{ pending: 0 }] });
      const types = rows.events.map((event) => event.type);
      expect(types.filter((type) => type === 'command.finished')).toHaveLength(2);
      expect(types.filter((type) => type === 'batch.finished')).toHaveLength(1);
    }
  });
});

describe('a row that another process is changing', () => {
  /** Begin `statement` while `change` is not committed, and commit that once the statement waits for it. */
  async function whileChanging<T>(
    change: (trx: Trx) => Promise<unknown>,
    statement: () => Promise<T>,
  ): Promise<T> {
    let waiting: Promise<T> | undefined;
    await inTransaction(db, async (trx) => {
      await change(trx);
      waiting = statement();
      waiting.catch(() => undefined);
      const isWaiting = `select 1 from pg_stat_activity
                         where application_name = 'test-usual' and wait_event_type = 'Lock'`;
      while ((await query(db, isWaiting)).length === 0) await setImmediate();
    });
    if (waiting === undefined) throw new Error('never began');
    return waiting;
  }

  const three = ['here', 'here-too', 'here-sh'];
  const change = (commandId: string | undefined, set: string) => (trx: Trx) =>
    execute(trx, `update commands set ${set} where command_id = :id`, { id: commandId ?? '' });
  const sortedIds = (sent: Sent) => sent.commands.map((command) => command.commandId).sort();

  it.each([0, 1, 2])('is left out when it is no longer as expected (number %i of three)', async (at) => {
    const sent = await send('ad-hoc', three);
    const ids = sortedIds(sent);
    const recorded = await whileChanging(change(ids[at], "state = 'running', started_at = now()"), () =>
      recordUsual(
        deps,
        reportsOf(sent, (c) => [startedFrame(c), resultFrame(c)]),
      ),
    );
    expect(recorded).toEqual(new Set(ids.toSpliced(at, 1)));
    const left = await query(db, `select command_id as id from commands where state = 'running'`);
    expect(left).toEqual([{ id: ids[at] }]);
    await expectAnnouncedAsStored(sent.batchId);
    await recordReports(
      deps,
      reportsOf(sent, (c) => [startedFrame(c), resultFrame(c)]),
    );
    expect(await rowsAbout(sent.batchId)).toMatchObject({ batches: [{ pending: 0 }] });
  });

  it('is recorded with what was written there when it still is as expected', async () => {
    const sent = await send('ad-hoc', three);
    const ids = sortedIds(sent);
    const recorded = await whileChanging(change(ids[1], 'cancel_requested_at = now()'), () =>
      recordUsual(
        deps,
        reportsOf(sent, (c) => [startedFrame(c), resultFrame(c)]),
      ),
    );
    expect(recorded).toEqual(new Set(ids));
    const asked = await query(db, `select state from commands where cancel_requested_at is not null`);
    expect(asked).toEqual([{ state: 'succeeded' }]);
    await expectAnnouncedAsStored(sent.batchId);
    expect(
      finished.at(-1)?.commands.filter(({ cancelRequestedAt }) => cancelRequestedAt !== null),
    ).toHaveLength(1);
  });

  it('gets a command queued, not sent, when its agent has connected elsewhere', async () => {
    dispatched = [];
    const made = await whileChanging(
      async (trx) => {
        await lockConnection(trx, 'here-too');
        await takeConnection(trx, {
          ...{ agentId: 'here-too', epoch: 2, journalId, journalSeq: 0, bridgeId: randomUUID() },
        });
      },
      () => runUsual(deps, actor, { ...run, agentIds: ['here', 'here-too', 'here-sh'] }),
    );
    await execute(db, `update agent_connections set epoch = 1 where agent_id = 'here-too'`, {});
    expect(dispatched.map(({ agentId }) => agentId).sort()).toEqual(['here', 'here-sh']);
    const rows = await query(
      db,
      'select agent_id as id, state from commands where batch_id = :id order by agent_id',
      { id: made?.batchId ?? '' },
    );
    expect(rows).toEqual([
      { id: 'here', state: 'sent' },
      { id: 'here-sh', state: 'sent' },
      { id: 'here-too', state: 'queued' },
    ]);
    await expectAnnouncedAsStored(made?.batchId ?? '');
  });
});

describe('a transaction whose last statement goes out with the commit', () => {
  it('commits nothing when that statement fails, tells its error, and leaves the connection usable', async () => {
    const failing = transact(deps, async (unit) => {
      await query(
        unit.trx,
        `insert into acts (digest, act, task_run, step_no, proposal_id)
                             values ('lost', '{}', '', 0, '')`,
      );
      unit.outbox({ workflowId: 'w', kind: 'no such kind' as 'signal', payload: {} });
    });
    await expect(failing).rejects.toMatchObject({ code: '23514' });
    expect(await query(db, `select 1 from acts where digest = 'lost'`)).toEqual([]);
  });

  it('does not take a rollback for a commit', async () => {
    const swallowing = inTransaction(db, async (trx) => {
      await query(trx, 'select 1 / 0').catch(() => undefined);
    });
    await expect(swallowing).rejects.toThrow('ROLLBACK');
  });
});
