/** Terminal sessions as rows: lists by an index, what is lost, what is overdue, what is forgotten. */
import pg from 'pg';
import { v7 as newId } from 'uuid';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createRecorder, type Recorder } from '../../api/terminal/recorder.ts';
import { createDatabase, type Db, query, type Trx } from '../../db/database.ts';
import { readTerminalLogTail } from '../../db/terminal-log.ts';
import { type RecordingChunk, readRecordingChunks } from '../../db/terminal-recordings.ts';
import {
  findTerminalSession,
  insertTerminalSession,
  listTerminalSessions,
  listTerminalsToReconcile,
  type NewTerminalSession,
} from '../../db/terminal-sessions.ts';
import type { DomainDeps } from '../../domain/deps.ts';
import { storeRecording } from '../../domain/terminal/recording.ts';
import {
  endOverdueTerminals,
  reconcileTerminals,
  recordTerminalEnd,
} from '../../domain/terminal/sessions.ts';
import { terminalRetention } from '../../worker/duties/terminal-retention.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';

const SESSIONS = 20_000;
const HOUR_MS = 3_600_000;

let database: TestDatabase;
let db: Db;
let client: pg.Client;
let deps: DomainDeps;

beforeAll(async () => {
  database = await createTestDatabase();
  db = createDatabase({ url: database.url, poolMax: 2, applicationName: 'terminals-test' });
  client = new pg.Client({ connectionString: database.url });
  await client.connect();
  const silent = () => undefined;
  deps = {
    db,
    log: { debug: silent, info: silent, warn: silent, error: silent },
    announce: { events: silent, agents: silent, output: silent, outbox: silent },
    limits: { defaultTimeoutMs: 30_000, maxTimeoutMs: 300_000, outputCapBytes: 1024 },
  };
});
afterAll(async () => {
  await client.end();
  await db.destroy();
  await database.drop();
});

const make = (given: Partial<NewTerminalSession> = {}) =>
  insertTerminalSession(db, {
    id: newId(),
    agentId: 'one',
    ownerKind: 'user',
    ownerId: 'ada',
    ownerName: 'ada',
    address: null,
    forwardParam: null,
    cols: 80,
    rows: 24,
    isRecorded: true,
    recordsInput: false,
    maxMs: HOUR_MS,
    ...given,
  });
const age = (id: string, column: 'created_at' | 'ends_before' | 'ended_at', days: number) =>
  query(db, `update terminal_sessions set ${column} = now() - :days * interval '1 day' where id = :id`, {
    id,
    days,
  });
const ended = { reason: 'exited', exitCode: 0, signal: null, survivors: 0, outputBytes: 3 };

describe('sessions an agent does not name', () => {
  it('are lost, unless they are younger than its connection', async () => {
    const [named, lost, young, foreign] = [
      await make(),
      await make(),
      await make(),
      await make({ agentId: 'two' }),
    ];
    for (const { id } of [named, lost, foreign]) await age(id, 'created_at', 1);
    await query(db, `insert into agents (id, hostname) values ('one', 'one'), ('two', 'two')`);
    await query(
      db,
      `insert into agent_connections (agent_id, epoch, bridge_id, connected_at)
       values ('one', 1, gen_random_uuid(), now() - interval '1 hour')`,
    );
    // Said on a connection that another has replaced: what was opened since is not lost.
    const before = await reconcileTerminals(deps, { agentId: 'one', epoch: 0 }, [named.id]);
    expect([before.living.map(({ id }) => id), before.lostIds]).toEqual([[named.id], []]);
    const { living, lostIds } = await reconcileTerminals(deps, { agentId: 'one', epoch: 1 }, [
      named.id,
      foreign.id,
    ]);
    expect(living.map(({ id }) => id)).toEqual([named.id]);
    expect(lostIds).toEqual([lost.id]);
    expect(await findTerminalSession(db, lost.id)).toMatchObject({ state: 'ended', endReason: 'lost' });
    for (const { id } of [young, foreign])
      expect(await findTerminalSession(db, id)).toMatchObject({ state: 'opening' });
  });

  it('end when their time is over', async () => {
    const [overdue, soon] = [await make(), await make()];
    await age(overdue.id, 'ends_before', 1);
    expect(await endOverdueTerminals(deps, 100)).toBe(1);
    expect(await findTerminalSession(db, overdue.id)).toMatchObject({ endReason: 'lost' });
    expect(await findTerminalSession(db, soon.id)).toMatchObject({ state: 'opening' });
    // What its agent says later changes nothing.
    await recordTerminalEnd(deps, overdue, ended);
    expect(await findTerminalSession(db, overdue.id)).toMatchObject({ endReason: 'lost' });
  });
});

describe('a recording', () => {
  it('keeps what came first when a chunk is stored again', async () => {
    const { id: sessionId } = await make();
    const shown: RecordingChunk = {
      sessionId,
      bytes: Buffer.from('abc'),
      marks: [[1, 'o', 3]],
      fromOffset: 0,
      recordedOffset: 3,
      isTruncated: false,
    };
    const resized: RecordingChunk = {
      ...shown,
      bytes: Buffer.alloc(0),
      marks: [[2, 'r', '9x9']],
      fromOffset: 3,
    };
    for (const chunk of [shown, shown, resized, resized, { ...shown, bytes: Buffer.from('xyz') }])
      await storeRecording(deps, chunk);
    const stored = await readRecordingChunks(db, sessionId, 0, 10);
    expect(stored.map(({ position, bytes }) => [position, bytes.toString()])).toEqual([
      [0, 'abc'],
      [1, ''],
    ]);
    expect(await findTerminalSession(db, sessionId)).toMatchObject({ recordingBytes: 3, recordedOffset: 3 });
  });

  it('is whole, and has nothing twice, when the agent goes to another process in the middle of it', async () => {
    const session = await make();
    const { id: sessionId } = session;
    const processOf = (): Recorder =>
      createRecorder({
        sessionId,
        startedAt: session.createdAt,
        isOn: true,
        recordsInput: false,
        resume: { offset: session.recordedOffset, bytes: 0, isTruncated: false },
        store: (chunk) => storeRecording(deps, chunk),
        onRoom: () => undefined,
        onError: (error) => {
          throw error;
        },
      });
    const [before, after] = [processOf(), processOf()];
    before.output(0, Buffer.from('abc'));
    before.resize(100, 30);
    // The agent sends again what the other process has not stored yet.
    after.output(0, Buffer.from('ab'));
    after.output(2, Buffer.from('cde'));
    await before.flush();
    await after.flush();
    after.output(5, Buffer.from('f'));
    await after.flush();
    // And it is back.
    before.output(3, Buffer.from('defgh'));
    await before.flush();
    const chunks = await readRecordingChunks(db, sessionId, 0, 10);
    expect(Buffer.concat(chunks.map(({ bytes }) => bytes)).toString()).toBe('abcdefgh');
    expect(chunks.flatMap(({ marks }) => marks.map(([, kind, what]) => [kind, what]))).toEqual([
      ['o', 3],
      ['r', '100x30'],
      ['o', 2],
      ['o', 1],
      ['o', 2],
    ]);
    expect(await findTerminalSession(db, sessionId)).toMatchObject({ recordingBytes: 8, recordedOffset: 8 });
  });

  it('goes with its session when both are old', async () => {
    const [old, fresh] = [await make(), await make()];
    for (const { id: sessionId } of [old, fresh]) {
      await storeRecording(deps, {
        sessionId,
        bytes: Buffer.from('abc'),
        marks: [[1, 'o', 3]],
        fromOffset: 0,
        recordedOffset: 3,
        isTruncated: false,
      });
      await recordTerminalEnd(deps, { id: sessionId, agentId: 'one' }, ended);
    }
    await age(old.id, 'ended_at', 91);
    await query(db, `update terminal_log set at = now() - interval '91 days' where session_id = :id`, {
      id: old.id,
    });
    const { signal } = new AbortController();
    await terminalRetention.run({ db, retentionMs: 90 * 24 * HOUR_MS }, signal);
    expect(await findTerminalSession(db, old.id)).toBeUndefined();
    expect(await readRecordingChunks(db, old.id, 0, 1)).toEqual([]);
    expect(await readRecordingChunks(db, fresh.id, 0, 1)).toHaveLength(1);
    const log = await readTerminalLogTail(db, 'ada', 100);
    const ids = log.map(({ entry }) => entry.session_id);
    expect(ids).toContain(`ws-${fresh.id}`);
    expect(ids).not.toContain(`ws-${old.id}`);
  });
});

describe('among many sessions', () => {
  beforeAll(async () => {
    await client.query(
      `insert into terminal_sessions (id, agent_id, state, owner_kind, owner_id, owner_name, cols, rows, records_input,
                                      is_recorded, created_at, ends_before, ended_at)
       select gen_random_uuid(), 'host-' || n % 200, 'ended', 'user', n % 100, 'x', 80, 24, false, true,
              now() - n * interval '1 minute', now(), now()
       from generate_series(1, $1) as n`,
      [SESSIONS],
    );
    await client.query('vacuum (analyze) terminal_sessions');
  });

  /** The plan of the very statement that a function sends. */
  async function planSentBy(send: (trx: Trx) => Promise<unknown>): Promise<string> {
    const sent: { text: string; values: unknown[] }[] = [];
    const driver = {
      async query(statement: { text: string; values: unknown[] }) {
        sent.push(statement);
        return { rows: [] };
      },
    };
    await send({ driver: driver as unknown as pg.ClientBase });
    const [statement] = sent;
    if (statement === undefined) throw new Error('nothing was sent');
    const { rows } = await client.query<{ 'QUERY PLAN': string }>(
      `explain ${statement.text}`,
      statement.values,
    );
    return rows.map((row) => row['QUERY PLAN']).join('\n');
  }

  const none = { ownerId: undefined, agentId: undefined, isOpen: undefined, before: undefined, limit: 51 };
  it.each([
    ['all', {}, 'terminal_sessions_list_idx'],
    ['those of an owner', { ownerId: '7' }, 'terminal_sessions_owner_idx'],
    ['those of an agent', { agentId: 'host-7' }, 'terminal_sessions_agent_idx'],
    ['open ones', { isOpen: true }, 'terminal_sessions_'],
    ['ended ones', { isOpen: false }, 'terminal_sessions_list_idx'],
  ] as const)('%s are found by an index', async (_, filter, index) => {
    const plan = await planSentBy((trx) => listTerminalSessions(trx, { ...none, ...filter }));
    expect(plan).toContain(index);
    expect(plan).not.toContain('Seq Scan');
  });

  it('those of an agent that came back are found by an index', async () => {
    const plan = await planSentBy((trx) =>
      listTerminalsToReconcile(trx, { agentId: 'host-7', epoch: 1 }, [newId()]),
    );
    expect(plan).not.toContain('Seq Scan on terminal_sessions');
  });
});
