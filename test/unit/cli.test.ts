/** The parts of the command line that need no server. */
import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { describeDuration, oneLine, printable } from '../../cli/demo/printable.ts';
import { createMigration } from '../../cli/new-migration.ts';
import { readServerEvents, type ServerEvent } from '../../client/server-events.ts';
import { openProgramLog } from '../../stack/program-log.ts';

const root = join(import.meta.dirname, '..', '..');
let folder = '';

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'cli-test-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

async function readAll(chunks: string[]): Promise<ServerEvent[]> {
  async function* body() {
    for (const chunk of chunks) yield Buffer.from(chunk);
  }
  const events: ServerEvent[] = [];
  for await (const event of readServerEvents(body())) events.push(event);
  return events;
}

describe('server-sent events', () => {
  it('are read whatever the line ends and wherever the chunks are cut', async () => {
    const text =
      ': hello\n\nid: 1\ndata: one\n\nevent: end\r\ndata:two\r\ndata: lines\r\n\r\ndata: three\r\r';
    const expected = [
      { id: '1', event: 'message', data: 'one' },
      { id: '1', event: 'end', data: 'two\nlines' },
      { id: '1', event: 'message', data: 'three' },
    ];
    // The last event ends with a CR that might have become a CR LF: one more line shows that it did not.
    for (let size = 1; size <= text.length; size += 1) {
      const chunks = `${text}: end\n`.match(new RegExp(`[^]{1,${size}}`, 'g')) ?? [];
      expect(await readAll(chunks)).toEqual(expected);
    }
  });

  it('without data or without their empty line are none', async () => {
    expect(await readAll(['event: ready\n\n', 'data: cut off\n'])).toEqual([]);
  });
});

describe('text of others on a terminal', () => {
  it('keeps its lines and loses what would steer the terminal', () => {
    expect(printable('a\tb\r\n\u001b[2Jc\u0007\u202e')).toBe('a\tb\n·[2Jc··');
    expect(oneLine('one\n  two three', 8)).toBe('one two…');
  });

  it('tells durations in the unit that fits', () => {
    expect([12, 1_540, 123_000].map(describeDuration)).toEqual(['12 ms', '1.5 s', '2 min 3 s']);
  });
});

describe('steelthread migrate new', () => {
  it('adds the file and both lines of the index', () => {
    const migrations = join(folder, 'migrations');
    cpSync(join(root, 'migrations'), migrations, { recursive: true });
    const [file = '', index = ''] = createMigration('add_task_labels', migrations);
    const full = file.replace(/^.*\/(.+)\.ts$/, '$1');
    expect(full).toMatch(/^\d{4}_add_task_labels$/);
    expect(readFileSync(file, 'utf8')).toContain(
      `export const addTaskLabels: Migration = {\n  name: '${full}',`,
    );
    const source = readFileSync(index, 'utf8');
    expect(source).toContain(`import { addTaskLabels } from './${full}.ts';\nimport type`);
    expect(source).toMatch(/ {2}addTaskLabels,\n\];\n$/);
    expect(() => createMigration('add_task_labels', migrations)).toThrow(/already/);
    expect(() => createMigration('Labels', migrations)).toThrow(/verb and a noun/);
  });
});

describe('the log of a program', () => {
  it('keeps the log of the start before, passes on problems, and leaves out what is hidden', () => {
    const file = join(folder, 'logs', 'api.log');
    const write = (lines: string[]): string[] => {
      const problems: string[] = [];
      const log = openProgramLog({
        file,
        onRecord: (record, hide) => record.event === 'admin_created' && hide(),
        onProblem: (line) => problems.push(line),
      });
      for (const line of lines) log.onLine(line);
      expect(log.tail()).not.toContain('secret');
      log.close();
      return problems;
    };
    expect(write(['{"level":"info","event":"first"}'])).toEqual([]);
    const warning = '{"level":"warn","event":"second"}';
    const secret = '{"event":"admin_created","password":"secret"}';
    expect(write([warning, secret, 'Error: crash'])).toEqual([warning, 'Error: crash']);
    expect(readFileSync(`${file}.1`, 'utf8')).toContain('first');
    expect(readFileSync(file, 'utf8')).toBe(`${warning}\nError: crash\n`);
  });
});

describe('exit codes', () => {
  const run = (args: string[], env: Record<string, string> = {}) =>
    spawnSync(process.execPath, [join(root, 'bin', 'steelthread.js'), ...args], {
      encoding: 'utf8',
      env: { PATH: process.env.PATH, HOME: folder, ...env },
    });

  it('tell a wrong command line or configuration from a failure', () => {
    const unknown = run(['demmo']);
    expect(unknown).toMatchObject({ status: 2, stderr: expect.stringContaining('Did you mean demo?') });
    const unset = run(['migrate', 'status']);
    expect(unset).toMatchObject({ status: 2, stderr: expect.stringContaining('DATABASE_URL is not set') });
    const away = run(['migrate', 'status'], { DATABASE_URL: 'postgres://a:b@127.0.0.1:1/c' });
    expect(away.status).toBe(1);
    const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string };
    expect(run(['--version'])).toMatchObject({ status: 0, stdout: `${version}\n` });
    expect(run(['--help'])).toMatchObject({ status: 0, stdout: expect.stringContaining('Exit codes:') });
  });

  it('point to the help of the command that was used wrongly', () => {
    const wrong = run(['audit', 'export', '--after-seal', 'x']);
    expect(wrong).toMatchObject({
      status: 2,
      stderr: expect.stringContaining('(steelthread audit export --help'),
    });
  });

  it('are 141, and no stack is told, where nobody reads any more', () => {
    const shell = '"$0" "$1" --help | true; echo "${PIPESTATUS[0]}"';
    const result = spawnSync('bash', ['-c', shell, process.execPath, join(root, 'bin', 'steelthread.js')], {
      encoding: 'utf8',
      env: { PATH: process.env.PATH, HOME: folder },
    });
    expect(result).toMatchObject({ stdout: '141\n', stderr: '' });
  });

  it('are what they were where nobody reads what is wrong', () => {
    const shell = '{ "$0" "$1" demmo 2>&1 >&3 | true; echo "${PIPESTATUS[0]}"; } 3>&1';
    const result = spawnSync('bash', ['-c', shell, process.execPath, join(root, 'bin', 'steelthread.js')], {
      encoding: 'utf8',
      env: { PATH: process.env.PATH, HOME: folder },
    });
    expect(result).toMatchObject({ stdout: '2\n' });
  });

  it('are 2 where dependencies are not installed', () => {
    const bare = join(folder, 'bare');
    cpSync(join(root, 'bin'), join(bare, 'bin'), { recursive: true });
    writeFileSync(join(bare, 'package.json'), '{"type":"module"}');
    const result = spawnSync(process.execPath, [join(bare, 'bin', 'steelthread.js')], { encoding: 'utf8' });
    expect(result).toMatchObject({ status: 2, stderr: expect.stringContaining('npm ci') });
  });
});
