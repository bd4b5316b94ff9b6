/** `steelthread audit …` as an administrator of the database runs it. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { insertAuditEvents } from '../../db/audit-events.ts';
import { createDatabase, type Db } from '../../db/database.ts';
import { auditEntryOf, sealAll } from '../support/audit.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';

const root = join(import.meta.dirname, '..', '..');
let database: TestDatabase;
let db: Db;
let folder = '';

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'audit-cli-'));
  database = await createTestDatabase();
  db = createDatabase({ url: database.url, poolMax: 2, applicationName: 'audit-cli-test' });
});
afterAll(async () => {
  await db.destroy();
  await database.drop();
  rmSync(folder, { recursive: true, force: true });
});

function audit(args: string[], input?: string) {
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [join(root, 'bin/steelthread.js'), 'audit', ...args],
    {
      encoding: 'utf8',
      maxBuffer: 64 * 1024 * 1024,
      env: { PATH: process.env.PATH ?? '', DATABASE_URL: database.url, STEELTHREAD_HOME: folder },
      ...(input === undefined ? {} : { input }),
    },
  );
  return { status, stdout, stderr };
}

const write = (count: number) =>
  insertAuditEvents(
    db,
    Array.from({ length: count }, (_, i) => auditEntryOf(`r${i}`, { details: { i } })),
  );

it('exports, proves the export without the database, and goes on from there', async () => {
  await write(600);
  await sealAll(db, 250);
  const first = audit(['export']);
  expect(first).toMatchObject({ status: 0, stderr: '' });
  expect(first.stdout.trimEnd().split('\n')).toHaveLength(600);
  const file = join(folder, 'audit.jsonl');
  writeFileSync(file, first.stdout);

  const inDatabase = audit(['verify']).stdout;
  const hash = /Newest: ([0-9a-f]{64})/.exec(inDatabase)?.[1] ?? '';
  const verified = audit(['verify', '--file', file]);
  expect(verified).toMatchObject({ status: 0, stderr: '' });
  expect(verified.stdout).toContain('3 seals over 600 rows hold, 0 rows are not sealed yet.');
  expect(verified.stdout).toContain(`Newest: ${hash}`);

  await write(40);
  await sealAll(db);
  const rest = audit(['export', '--after-seal', '3']).stdout;
  expect(audit(['verify', '--file', '-', '--last-hash', hash], rest)).toMatchObject({ status: 0 });
  expect(audit(['verify', '--file', '-', '--last-hash', 'e'.repeat(64)], rest).stderr).toMatch(
    /has the hash eee/,
  );

  const spoiled = first.stdout.replace('"principalName":"r7"', '"principalName":"somebody"');
  const found = audit(['verify', '--file', '-'], spoiled);
  expect(found.status).not.toBe(0);
  expect(found.stderr).toMatch(/^Seal 1 \(up to line \d+\) does not hold \(hash\)/);
  expect(audit(['verify', '--file', join(folder, 'not-there')]).stderr).toMatch(/cannot be read/);
});

it.each([
  [['export', '--after-seal', 'x'], /It is a number/],
  [['export', '--from', 'yesterday'], /Write it as/],
])('refuses %j', (args, message) => {
  const refused = audit(args);
  expect(refused.status).toBe(2);
  expect(refused.stderr).toMatch(message);
});

it('narrows by time', () => {
  const later = new Date(Date.now() + 60_000).toISOString();
  expect(audit(['export', '--from', later]).stdout).toBe('');
  expect(audit(['export', '--to', later]).stdout.trimEnd().split('\n')).toHaveLength(640);
});
