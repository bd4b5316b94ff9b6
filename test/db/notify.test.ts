import { type AddressInfo, createServer, type Socket } from 'node:net';
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

/** Messages of the server's side of the protocol: AuthenticationOk, and ReadyForQuery when idle. */
const LET_IN = Buffer.from([...[0x52, 0, 0, 0, 8, 0, 0, 0, 0], ...[0x5a, 0, 0, 0, 5, 0x49]]);

describe('a listener', () => {
  it('begins anew where a server lets it in and then says nothing', async () => {
    const sockets: Socket[] = [];
    let asked = 0;
    const server = createServer((socket) => {
      sockets.push(socket);
      socket.on('error', () => undefined);
      socket.once('data', () => {
        socket.write(LET_IN);
        socket.on('data', (bytes) => {
          if (bytes.includes('listen')) asked += 1;
        });
      });
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    const errors: unknown[] = [];
    const stuck = createListener({
      url: `postgres://nobody@127.0.0.1:${port}/none`,
      channels: ['news'],
      onNotify: () => undefined,
      onReconnect: () => undefined,
      onError: (error) => errors.push(error),
    });
    try {
      await vi.waitFor(() => expect(asked).toBeGreaterThan(0), 10_000);
      const before = asked;
      vi.advanceTimersByTime(10_000);
      await vi.waitFor(() => expect(asked).toBeGreaterThan(before), 10_000);
      expect(errors.length).toBeGreaterThan(0);
    } finally {
      vi.useRealTimers();
      await stuck.close();
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    }
  });
});
