/**
 * 304 by the version of a kind: no task is read for it, and no change is missed, in whatever order transactions commit
 * and while the counted rows are put together.
 */
import pg from 'pg';
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { createDatabase, inTransaction } from '../../db/database.ts';
import { readTaskVersion } from '../../db/task-kinds.ts';
import { lockTaskByPublicId, updateTask } from '../../db/tasks.ts';
import { archiveEndedTasks } from '../../domain/tasks/archive.ts';
import { type System, startSystem } from '../support/system.ts';
import { deskOf } from '../support/tasks.ts';

const JOBS = '/api/v1/jobs';
const NOTES = '/api/v1/collab/tasks';
const STATE = '/api/v1/collab/state/tasks';

let system: System;
const tokens = { operator: '', user: '', other: '' };
beforeAll(async () => {
  system = await startSystem({ worker: false });
  const desk = deskOf(system);
  tokens.operator = await desk.addUser('operator', 'ada');
  tokens.user = await desk.addUser('user', 'uma');
  tokens.other = await desk.addUser('user', 'otto');
});
afterAll(() => system.close());

interface Read {
  status: number;
  etag: string;
}

/** A conditional request; `etag` undefined: an unconditional one. */
async function read(path: string, etag?: string, token = system.token()): Promise<Read> {
  const headers = { authorization: `Bearer ${token}`, ...(etag !== undefined && { 'if-none-match': etag }) };
  const reply = await fetch(`${system.url}${path}`, { headers });
  await reply.arrayBuffer();
  return { status: reply.status, etag: reply.headers.get('etag') ?? '' };
}

const createJob = async (token = system.token()): Promise<string> =>
  (await system.call<{ id: string }>('POST', JOBS, { title: 'x' }, { token })).id;
const createNote = async (token = system.token()): Promise<string> =>
  (await system.call<{ id: string }>('POST', NOTES, { title: 'x' }, { token })).id;
const setStatus = (id: string, status: string) => system.call('PUT', `${JOBS}/${id}/status?status=${status}`);

/** The statements that are sent while `work` runs. */
async function statementsOf(work: () => Promise<unknown>): Promise<string[]> {
  const texts: string[] = [];
  const spy = vi.spyOn(pg.Client.prototype, 'query');
  try {
    await work();
    for (const [statement] of spy.mock.calls as unknown as [string | { text: string }][]) {
      texts.push(typeof statement === 'string' ? statement : statement.text);
    }
  } finally {
    spy.mockRestore();
  }
  return texts;
}
/** Reads of tasks; the delivery of an outbox row may write to one at any time. */
const ofTasks = (texts: string[]): string[] => texts.filter((text) => /\b(from|join) tasks\b/.test(text));

describe('a 304', () => {
  let job = '';
  let note = '';
  beforeEach(async () => {
    job = await createJob(tokens.user);
    note = await createNote(tokens.user);
  });

  it.each([
    ['the list of jobs', () => JOBS],
    ['a part of it', () => `${JOBS}?status=pending&skip=1&limit=5`],
    ['a job', () => `${JOBS}/${job}`],
    ['the list of notes', () => STATE],
    ['a note', () => `${NOTES}/${note}`],
  ])('of %s reads no task', async (_name, pathOf) => {
    const path = pathOf();
    for (const token of [system.token(), tokens.user]) {
      const first = await read(path, undefined, token);
      expect(first.status).toBe(200);
      const reading = await statementsOf(() => read(path, '"other"', token));
      expect(ofTasks(reading).length).toBeGreaterThan(0);
      const texts = await statementsOf(async () => {
        for (const header of [first.etag, `W/${first.etag}`, '*']) {
          expect(await read(path, header, token)).toEqual({ status: 304, etag: first.etag });
        }
      });
      expect(texts.some((text) => text.includes('task_versions'))).toBe(true);
      expect(ofTasks(texts)).toEqual([]);
    }
  });

  it('stays one while others change what the reader does not see, and what is of another kind', async () => {
    const mine = await read(JOBS, undefined, tokens.user);
    await setStatus(await createJob(tokens.other), 'completed');
    await createNote(tokens.user);
    await system.call('POST', '/v1/tasks', { goal: 'x', mode: 'manual' }, { token: tokens.user });
    const texts = await statementsOf(async () => {
      expect((await read(JOBS, mine.etag, tokens.user)).status).toBe(304);
    });
    expect(ofTasks(texts)).toEqual([]);
  });

  it('is given again when the content is again the same', async () => {
    const before = await read(STATE);
    await system.call('DELETE', `${NOTES}/${await createNote()}`);
    expect(await read(STATE, before.etag)).toEqual({ status: 304, etag: before.etag });
  });
});

describe('no change is missed', () => {
  const changes: [name: string, path: string, change: (id: string) => Promise<unknown>][] = [
    ['a status', JOBS, (id) => setStatus(id, 'running')],
    ['an end', JOBS, (id) => setStatus(id, 'completed')],
    ['a deletion', JOBS, (id) => system.call('DELETE', `${JOBS}/${id}`)],
    ['a cancel by the house', JOBS, (id) => system.call('POST', `/v1/tasks/${id}/cancel`, {})],
    [
      'a request for a proposal',
      JOBS,
      (id) => system.request('POST', `/v1/tasks/${id}/propose`, { waitMs: 0 }),
    ],
    ['an edit', STATE, (id) => system.call('PUT', `${NOTES}/${id}`, { title: 'y' })],
    ['a deletion of a note', STATE, (id) => system.call('DELETE', `${NOTES}/${id}`)],
    ['a new one', STATE, () => createNote()],
    [
      'an archival by the house',
      JOBS,
      async (id) => {
        await system.call('POST', `/v1/tasks/${id}/cancel`, {});
        await read(JOBS);
        await system.call('POST', `/v1/tasks/${id}/archive`);
      },
    ],
    [
      'an archival by retention',
      JOBS,
      async (id) => {
        await setStatus(id, 'completed');
        await read(JOBS);
        expect(
          await archiveEndedTasks(system.api.parts.domain, { endedBefore: new Date(), limit: 100 }),
        ).toBeGreaterThan(0);
      },
    ],
  ];
  it.each(changes)('%s', async (_name, path, change) => {
    const id = path === JOBS ? await createJob(tokens.user) : await createNote(tokens.user);
    const paths = [path, path === JOBS ? `${JOBS}/${id}` : `${NOTES}/${id}`];
    const before = await Promise.all(
      [system.token(), tokens.user].flatMap((token) => paths.map((each) => read(each, undefined, token))),
    );
    await change(id);
    const [all, one, own, ownOne] = before;
    for (const [each, seen, token] of [
      [path, all, system.token()],
      [path, own, tokens.user],
      [paths[1] ?? '', one, system.token()],
      [paths[1] ?? '', ownOne, tokens.user],
    ] as const) {
      const now = await read(each, seen?.etag, token);
      const fresh = await read(each, undefined, token);
      expect(now.status === 304 ? seen?.etag : now.etag).toBe(fresh.etag);
      expect([each, now.etag === seen?.etag]).toEqual([each, fresh.etag === seen?.etag]);
    }
    // Seen by everybody who sees all, whoever made it.
    expect((await read(path, all?.etag)).status).toBe(200);
  });

  it('that commits after a later one', async () => {
    const { db } = system.api.parts;
    const [early, late] = [await createJob(), await createJob()];
    let commit = (): void => undefined;
    const mayCommit = new Promise<void>((resolve) => {
      commit = resolve;
    });
    let changed = (): void => undefined;
    const hasChanged = new Promise<void>((resolve) => {
      changed = resolve;
    });
    const slow = inTransaction(db, async (trx) => {
      const task = await lockTaskByPublicId(trx, early);
      await updateTask(trx, task?.id ?? '', { state: 'running' });
      changed();
      await mayCommit;
    });
    await hasChanged;
    // Another one overtakes it; the reader's ETag is that of the later one.
    await setStatus(late, 'running');
    const between = await read(JOBS);
    expect((await read(JOBS, between.etag)).status).toBe(304);
    commit();
    await slow;
    const after = await read(JOBS, between.etag);
    expect(after.status).toBe(200);
    expect(after.etag).not.toBe(between.etag);
  });

  it('that is rolled back changes nothing', async () => {
    const { db } = system.api.parts;
    const job = await createJob();
    const before = await read(JOBS);
    const failing = inTransaction(db, async (trx) => {
      const task = await lockTaskByPublicId(trx, job);
      await updateTask(trx, task?.id ?? '', { state: 'running' });
      throw new Error('no');
    });
    await expect(failing).rejects.toThrow('no');
    expect((await read(JOBS, before.etag)).status).toBe(304);
  });

  it('while many write, and readers read all the time', async () => {
    const WRITERS = 8;
    const EDITS = 25;
    const db = createDatabase({ url: system.database.url, poolMax: 2, applicationName: 'test-versions' });
    let isOver = false;
    const wrong: string[] = [];
    const readAlways = async (token: string): Promise<void> => {
      let { etag } = await read(STATE, undefined, token);
      while (!isOver) etag = (await read(STATE, etag, token)).etag;
    };
    const versionAlways = async (): Promise<void> => {
      for (let last = 0; !isOver; ) {
        const version = await readTaskVersion(db, 'collab', undefined);
        if (version < last) wrong.push(`the version fell from ${last} to ${version}`);
        last = version;
      }
    };
    const write = async (): Promise<void> => {
      const id = await createNote(tokens.user);
      for (let i = 0; i < EDITS; i++) {
        const before = await Promise.all([read(STATE), read(STATE, undefined, tokens.user)]);
        await system.call('PUT', `${NOTES}/${id}`, { title: `title ${i}` }, { token: tokens.user });
        const after = await Promise.all([
          read(STATE, before[0].etag),
          read(STATE, before[1].etag, tokens.user),
        ]);
        if (after.some(({ status }) => status !== 200)) wrong.push(`an edit was missed: ${i}`);
      }
    };
    const watching = [readAlways(system.token()), readAlways(tokens.user), versionAlways()];
    const before = await readTaskVersion(db, 'collab', undefined);
    await Promise.all(Array.from({ length: WRITERS }, write));
    isOver = true;
    await Promise.all(watching);
    const after = await readTaskVersion(db, 'collab', undefined);
    const rows = await db('task_versions').where({ kind: 'collab', visible_to: '*' });
    await db.destroy();
    expect(wrong).toEqual([]);
    // Each creation and each edit once.
    expect(after - before).toBe(WRITERS * (EDITS + 1));
    expect(rows.length).toBeLessThan(after);
  }, 60_000);

  it('and house tasks leave no row', async () => {
    const { db } = system.api.parts;
    await system.call('POST', '/v1/tasks', { goal: 'x', mode: 'manual' });
    expect(await db('task_versions').where({ kind: 'task' })).toEqual([]);
  });
});
