/** The source folder that questions are answered with: what may be read of it, and what is found in it. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { isProblem } from '../../contracts/errors.ts';
import type { Role } from '../../contracts/principal.ts';
import type { Actor, Log } from '../../domain/deps.ts';
import {
  createRepoContext,
  MAX_CONTEXT_LENGTH,
  promptWithContext,
} from '../../domain/repo-context/context.ts';
import {
  isShownName,
  MAX_SEARCHED_FILE_BYTES,
  partsOfPath,
  walkFiles,
} from '../../domain/repo-context/files.ts';
import { redact } from '../../domain/repo-context/redact.ts';
import { createRepoIndex } from '../../domain/repo-context/repo-index.ts';
import { findSymbols } from '../../domain/repo-context/symbols.ts';
import { termsOf } from '../../domain/repo-context/terms.ts';

const quiet = (): void => undefined;
const log: Log = { debug: quiet, info: quiet, warn: quiet, error: quiet };
const as = (role: Role): Actor => ({
  principal: { kind: 'user', id: role, name: role, roles: [role], sessionId: null },
  address: null,
  requestId: null,
});
const operator = as('operator');

let base: string;
let root: string;
function put(path: string, text: string | Buffer): void {
  const full = join(root, path);
  mkdirSync(dirname(full), { recursive: true });
  writeFileSync(full, text);
}
beforeAll(() => {
  base = mkdtempSync(join(tmpdir(), 'repo-context-'));
  root = join(base, 'root');
  put('src/outbox.ts', 'export function drainOutbox() {\n  return deliverRows();\n}\n');
  put(
    'src/ledger.ts',
    `${'// filler\n'.repeat(60)}// the ledger keeps every batch of the outbox\nexport const ledger = 1;\n`,
  );
  put('src/config.py', 'API_KEY = "abcdef123456"\n\nclass Settings:\n    pass\n');
  put('docs/guide.md', '# Guide\n\nHow the zebra crosses the road.\n');
  put('node_modules/dep/outbox.ts', 'export function drainOutbox() {}\n');
  put('.git/config.md', 'outbox\n');
  put('.env', 'TOKEN=outbox');
  put('secrets.yaml', 'outbox: yes\n');
  put('picture.png', 'outbox');
  put('binary.ts', Buffer.from([111, 117, 116, 0, 98, 111, 120]));
  put('large.ts', `// outbox\n${'x'.repeat(MAX_SEARCHED_FILE_BYTES)}`);
  writeFileSync(join(base, 'outside.md'), 'outbox of somebody else\n');
  mkdirSync(join(base, 'elsewhere'));
  writeFileSync(join(base, 'elsewhere', 'other.md'), 'outbox elsewhere\n');
  symlinkSync(join(base, 'outside.md'), join(root, 'link.md'));
  symlinkSync(join(base, 'elsewhere'), join(root, 'linked'));
  execFileSync('mkfifo', [join(root, 'pipe.md')]);
});
afterAll(() => rmSync(base, { recursive: true, force: true }));

const context = () => createRepoContext({ log }, root);
const codeOf = async (run: Promise<unknown>): Promise<string> => {
  const error: unknown = await run.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  return isProblem(error) ? `${error.code} ${error.message}` : `no problem: ${String(error)}`;
};

describe('a path of a client', () => {
  it.each([
    '../outside.md',
    'src/../../outside.md',
    'src/..',
    '/etc/motd.md',
    '..\\outside.md',
    'src\\outbox.ts',
    'src/outbox.ts\0.md',
    '.env',
    '.git/config.md',
    'src/.hidden.ts',
    'picture.png',
    'secrets.yaml',
    'C:/x.md',
    '',
    '.',
  ])('is refused: %j', async (path) => {
    expect(partsOfPath(path)).toBeUndefined();
    expect(await codeOf(context().preview(operator, path, 500))).toBe('invalid_request Invalid source_path');
  });

  it('is refused where it is too long', () => {
    expect(partsOfPath(`${'x'.repeat(2000)}.md`)).toBeUndefined();
  });

  it('is not found where it is a link, a folder, a pipe, or not there', async () => {
    for (const path of ['link.md', 'linked/other.md', 'pipe.md', 'src/nothing.ts', 'src/outbox.ts/more.ts'])
      expect(await codeOf(context().preview(operator, path, 500)), path).toMatch(/^not_found/);
  });

  it('is read to the length asked for, secrets blanked', async () => {
    expect(await context().preview(operator, './src//outbox.ts', 500)).toEqual({
      preview: 'export function drainOutbox() {\n  return deliverRows();\n}\n',
      isTruncated: false,
      lineCount: 4,
    });
    const cut = await context().preview(operator, 'src/outbox.ts', 10);
    expect(cut).toEqual({ preview: 'export fun', isTruncated: true, lineCount: 1 });
    expect((await context().preview(operator, 'src/config.py', 500)).preview).toContain('API_KEY = "***"');
    // A file of which only the beginning is read says so.
    expect(await context().preview(operator, 'large.ts', 200)).toMatchObject({ isTruncated: true });
  });
});

describe('a search', () => {
  it('finds names of definitions first, then words, and nothing outside', async () => {
    const found = await context().find(operator, 'Where is the outbox drained? drainOutbox');
    expect(found.chunks.map(({ path, foundBy }) => [path, foundBy])).toEqual([
      ['src/outbox.ts', 'symbols'],
      ['src/ledger.ts', 'words'],
    ]);
    expect(found.chunks[1]).toMatchObject({ startLine: 58, content: expect.stringContaining('every batch') });
    expect(found.text).toContain('src/outbox.ts: drainOutbox');
    expect(found.text).not.toMatch(/elsewhere|somebody/);
    expect(found.tokenEstimate).toBe(Math.ceil(found.text.length / 4));
    expect(found.strategy).toEqual({
      name: 'lexical',
      semantic: false,
      repository_map: 1,
      text_search: 1,
      files_searched: 4,
      partial: true,
    });
  });

  it('never shows a secret, and finds nothing where no word fits', async () => {
    const settings = await context().find(operator, 'class Settings');
    expect(settings.chunks[0]?.content).toContain('***');
    expect(JSON.stringify(settings)).not.toContain('abcdef123456');
    const none = await context().find(operator, 'kumquat');
    expect(none).toMatchObject({ chunks: [], text: '', tokenEstimate: 0 });
    expect(promptWithContext('kumquat', none)).toBe('kumquat');
  });

  it('sees what has changed since', async () => {
    const own = mkdtempSync(join(base, 'own-'));
    writeFileSync(join(own, 'a.md'), 'zebra\n');
    writeFileSync(join(own, 'b.md'), 'zebra\n');
    const index = createRepoIndex(own, { freshMs: 0 });
    const linesOf = async () => (await index.read()).files.map(({ path, lines }) => [path, lines[0]]);
    expect(await linesOf()).toEqual([
      ['a.md', 'zebra'],
      ['b.md', 'zebra'],
    ]);
    writeFileSync(join(own, 'a.md'), 'lions\n\n');
    rmSync(join(own, 'b.md'));
    writeFileSync(join(own, 'c.md'), 'gnu\n');
    expect(await linesOf()).toEqual([
      ['a.md', 'lions'],
      ['c.md', 'gnu'],
    ]);
  });

  it('of a folder that is slow to read is what was found in time', async () => {
    const own = mkdtempSync(join(base, 'own-'));
    writeFileSync(join(own, 'a.md'), 'zebra\n');
    expect(await walkFiles(own, AbortSignal.abort())).toEqual({ files: [], isPartial: true });
  });

  it('cuts long lines between characters', async () => {
    const own = mkdtempSync(join(base, 'own-'));
    writeFileSync(join(own, 'a.md'), `zebra ${'x'.repeat(293)}\u{1f600} and more\n`);
    const [chunk] = (await createRepoContext({ log }, own).find(operator, 'zebra')).chunks;
    expect(chunk?.content.split('\n')[0]).toBe(`zebra ${'x'.repeat(293)}\ufffd…`);
  });

  it('stays within its length', async () => {
    const own = mkdtempSync(join(base, 'own-'));
    for (let i = 0; i < 20; i++)
      writeFileSync(
        join(own, `f${i}.md`),
        'zebra words without an end '.repeat(40_00).slice(0, 100_000).replaceAll('end ', 'end\n'),
      );
    const found = await createRepoContext({ log }, own).find(operator, 'zebra');
    expect(found.chunks).toHaveLength(8);
    expect(found.text.length).toBeLessThanOrEqual(MAX_CONTEXT_LENGTH);
    const prompt = promptWithContext('What of the zebra?', found);
    expect(prompt).toMatch(
      /^What of the zebra\?\n\n[\s\S]*<<<CONTEXT ([0-9a-f]{16})>>>[\s\S]*<<<END CONTEXT \1>>>$/,
    );
    expect(promptWithContext('What of the zebra?', found)).toBe(prompt);
  });

  it('is for those who may read the folder, where there is one', async () => {
    expect(await codeOf(context().find(as('user'), 'outbox'))).toMatch(/^forbidden/);
    expect(await codeOf(context().preview(as('user'), 'src/outbox.ts', 300))).toMatch(/^forbidden/);
    const none = createRepoContext({ log }, null);
    expect(await codeOf(none.find(operator, 'x'))).toBe('invalid_request Hybrid context mode is disabled');
    const away = createRepoContext({ log }, join(base, 'nowhere'));
    expect(await codeOf(away.find(operator, 'x'))).toBe('invalid_request The context folder cannot be read');
  });
});

describe('the parts', () => {
  it('know names of files that may be shown', () => {
    expect(['a.ts', 'README.md', 'tsconfig.json', 'secret-box.ts'].filter(isShownName)).toHaveLength(4);
    expect(['.env', 'id_rsa', 'a.pem', 'token.json', 'credentials.yml', 'a.exe'].filter(isShownName)).toEqual(
      [],
    );
  });

  it('find definitions of several languages', () => {
    const lines = [
      'export async function one() {',
      'class Two:',
      '    def three(self):',
      'func (s *Server) Four(x int) {',
      'pub struct Five {',
      'create table if not exists six (',
      '## Seven',
      'const eight = 8;',
      '  return nine();',
    ];
    const names = findSymbols(lines).map(({ name }) => name);
    expect(names).toEqual(['one', 'Two', 'three', 'Four', 'Five', 'six', 'Seven', 'eight']);
  });

  it('take compound words apart and leave out what says nothing', () => {
    expect(termsOf('How does the readTaskList of task_list work?')).toEqual(['read', 'task', 'list', 'work']);
  });

  it('blank what looks like a secret and keep code and lines', () => {
    expect(redact('password: "hunter2hunter2"')).toBe('password: "***"');
    expect(redact('const token = config.agentToken;')).toBe('const token = config.agentToken;');
    expect(redact(`key sk-${'a1'.repeat(12)} end`)).toBe('key *** end');
    const pem = '-----BEGIN PRIVATE KEY-----\nabc\ndef\n-----END PRIVATE KEY-----\nafter';
    expect(redact(pem)).toBe('***\n\n\n\nafter');
  });
});
