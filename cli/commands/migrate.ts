import { type Command, InvalidArgumentError } from 'commander';
import { loadConfig } from '../../config.ts';
import { createDatabase } from '../../db/database.ts';
import { migrateDown, migrateUp, readMigrationStatus } from '../../db/migrate.ts';
import { withDatabaseFailure } from '../database-failure.ts';
import { findDatabaseUrl } from '../database-url.ts';
import { createMigration } from '../new-migration.ts';

export function addMigrateCommand(program: Command): void {
  const migrate = program
    .command('migrate')
    .description('Change the schema of the database (reads DATABASE_URL)');
  migrate
    .command('up')
    .description('Apply what is pending; safe when two run at once')
    .action(async () => print('applied', await withDatabaseFailure(() => migrateUp(databaseUrl()))));
  migrate
    .command('down')
    .description('Take back the newest migrations')
    .argument('[count]', 'how many', parseCount, 1)
    .action(async (count: number) =>
      print('taken back', await withDatabaseFailure(() => migrateDown(databaseUrl(), count))),
    );
  migrate
    .command('status')
    .description(
      'List applied and pending migrations, of DATABASE_URL or else of a running `steelthread dev`',
    )
    .action(() => withDatabaseFailure(showStatus));
  migrate
    .command('new')
    .description('Add an empty migration to migrations/ (in a checkout)')
    .argument('<name>', 'verb and noun, such as add_task_labels')
    .action((name: string) => {
      for (const file of createMigration(name)) process.stdout.write(`${file}\n`);
    });
}

function databaseUrl(): string {
  return loadConfig('migrate').databaseUrl;
}

function parseCount(text: string): number {
  if (!/^[1-9]\d{0,3}$/.test(text)) throw new InvalidArgumentError('It must be a whole number from 1.');
  return Number(text);
}

function print(what: string, names: string[]): void {
  process.stdout.write(
    names.length === 0 ? 'Nothing to do.\n' : names.map((name) => `${what} ${name}\n`).join(''),
  );
}

async function showStatus(): Promise<void> {
  const db = createDatabase({ url: findDatabaseUrl(), poolMax: 1, applicationName: 'steelthread-migrate' });
  try {
    const { applied, pending } = await readMigrationStatus(db);
    const lines = [
      ...applied.map((name) => `applied  ${name}`),
      ...pending.map((name) => `pending  ${name}`),
    ];
    process.stdout.write(`${lines.join('\n')}\n`);
  } finally {
    await db.destroy();
  }
}
