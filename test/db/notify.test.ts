import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { createDatabase, type Db, queryOne } from '../../db/database.ts';
import { createListener, type Listener } from '../../db/listen.ts';
import { createNotifier } from '../../db/notify.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';

let database: TestDatabase;
let db: Db;
let listener: Listener;
let heard: string[] = [];

beforeAll(async () => {
  database = await createTestDatabase();
  db = createDatabase({ url: database.url, poolMax: 2, applicationName: 'test-notify' });
  listener = createListener({
    url: database.url,
    channels: ['news'],
    onNotify: (_, payload) => void heard.push(payload),
    onReconnect: () => undefined,
    onError: (error) => expect.unreachable(String(error)),
  });
  await listener.ready;
});
afterAll(async () => {
  await listener.close();
  await db.destroy();
  await database.drop();
});

describe('a notifier that rests between two sendings', () => {
  it('sends at once after a rest, what gathers meanwhile as one, and all of it when it is flushed', async () => {
    heard = [];
    // Longer than the test: only the flush ends the rest.
    const notifier = createNotifier(db, (error) => expect.unreachable(String(error)), { gapMs: 3_600_000 });
    notifier.notify('news', ['1']);
    await vi.waitFor(() => expect(heard).toEqual(['1']));
    notifier.notify('news', ['2']);
    notifier.notify('news', ['3', '2']);
    await notifier.flush();
    await vi.waitFor(() => expect(heard).toEqual(['1', '2,3']));
  });

  it('leaves the connection as careful about commits as it was', async () => {
    const one = createDatabase({ url: database.url, poolMax: 1, applicationName: 'test-notify-one' });
    try {
      const notifier = createNotifier(one, (error) => expect.unreachable(String(error)));
      notifier.notify('news', ['1']);
      await notifier.flush();
      expect(await queryOne(one, 'show synchronous_commit')).toEqual({ synchronous_commit: 'on' });
    } finally {
      await one.destroy();
    }
  });

  it('goes on by itself when the rest is over', async () => {
    heard = [];
    const notifier = createNotifier(db, (error) => expect.unreachable(String(error)), { gapMs: 5 });
    notifier.notify('news', ['1']);
    await vi.waitFor(() => expect(heard).toEqual(['1']));
    notifier.notify('news', ['2']);
    await vi.waitFor(() => expect(heard).toEqual(['1', '2']));
    await notifier.flush();
  });
});
