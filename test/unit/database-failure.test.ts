/** What the command line says of a database that lets nobody in and says nothing. */
import { expect, it, vi } from 'vitest';
import { withDatabaseFailure } from '../../cli/database-failure.ts';
import { CommandError } from '../../cli/exit-codes.ts';
import { createDatabase, inTransaction, query } from '../../db/database.ts';
import { migrateUp } from '../../db/migrate.ts';
import { startSilentServer } from '../support/silent-server.ts';

const withPool = async (url: string, work: (db: ReturnType<typeof createDatabase>) => Promise<unknown>) => {
  const db = createDatabase({ url, poolMax: 1, applicationName: 'test-database-failure' });
  await work(db).finally(() => db.destroy());
};

const asks: Record<string, (url: string) => Promise<unknown>> = {
  'a statement': (url) => withPool(url, (db) => query(db, 'select 1')),
  'a transaction': (url) => withPool(url, (db) => inTransaction(db, (trx) => query(trx, 'select 1'))),
  'a statement of knex': (url) => withPool(url, (db) => db.raw('select 1')),
  'a migration': migrateUp,
};

it.each(Object.entries(asks))('%s ends in one line', async (_, ask) => {
  const server = await startSilentServer();
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  try {
    const failed = withDatabaseFailure(() => ask(`postgres://nobody@${server.address}/none`)).then(
      () => 'it was answered',
      (error: unknown) => error,
    );
    await vi.waitFor(() => expect(server.sockets).toHaveLength(1), 10_000);
    vi.advanceTimersByTime(60_000);
    const error = await failed;
    expect(error).toBeInstanceOf(CommandError);
    expect(String(error)).toMatch(/The database cannot be used: .*(time|answer)/);
  } finally {
    vi.useRealTimers();
    await server.close();
  }
});

it('a statement that is wrong keeps its stack', async () => {
  const wrong = new Error('syntax error');
  await expect(withDatabaseFailure(() => Promise.reject(wrong))).rejects.toBe(wrong);
});
