/** Saved commands without a database: types, quoting (with the real shells), the choice of a script, instances. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  createSavedCommandBodySchema,
  type ParameterType,
  type ParameterValue,
  type SavedContent,
  type SavedParameter,
  savedParameterSchema,
} from '../../contracts/saved-commands.ts';
import { findControl } from '../../domain/danger/unseen.ts';
import { isInstance } from '../../domain/saved-commands/auto-approve.ts';
import { chooseScript } from '../../domain/saved-commands/choose-script.ts';
import { checkValue, contentIssues, settingsOf } from '../../domain/saved-commands/parameters.ts';
import {
  findUnsafe,
  literalFor,
  type ParameterSetting,
  renderScript,
} from '../../domain/saved-commands/render.ts';

let directory: string;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'steelthread-saved-'));
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

const text = (name: string, value: string): ParameterSetting => ({ name, type: 'string', value });
const declare = (facts: { name: string; type?: ParameterType } & Partial<SavedParameter>): SavedParameter =>
  savedParameterSchema.parse(facts);
const content = (facts: object): SavedContent =>
  createSavedCommandBodySchema.parse({ name: 'x', scripts: { any: 'x' }, ...facts });

const hasShell = (shell: string): boolean => spawnSync(shell, ['-c', 'exit 0']).status === 0;
function run(shell: string, script: string): string {
  const flags = shell === 'pwsh' ? ['-NoProfile', '-NonInteractive', '-Command'] : ['-c'];
  const done = spawnSync(shell, [...flags, script], { cwd: directory, encoding: 'utf8' });
  expect({ status: done.status, stderr: done.stderr }).toEqual({ status: 0, stderr: '' });
  return done.stdout;
}

const hostile = [
  '',
  "'",
  "''",
  '"',
  '\\',
  "\\'",
  '$(touch pwned)',
  '`touch pwned`',
  '; touch pwned',
  '\ntouch pwned\n',
  "'; touch pwned; '",
  "' $(touch pwned) '",
  '"; touch pwned; "',
  '&& touch pwned',
  '| touch pwned',
  '> pwned',
  '$HOME ~ * ? [a-z] {a,b}',
  '!! !x ^x^y',
  '-rf',
  '--',
  '%PATH% ^& %%',
  '\u2018; New-Item pwned; \u2019',
  '\u201a\u201b\u201c\u201d',
  'Grüße 東京 🚀',
  '  spaces  and\ttabs  ',
];

/** What a parameter of type string takes, leaning to what shells act upon. */
const anyText = fc
  .oneof(
    fc.string({ unit: fc.constantFrom(...'\'"\\$`;&|<>(){}[]*?!#~%^=-\n\t a', '\u2019', '\u2018') }),
    fc.string({ unit: 'grapheme' }),
    fc.constantFrom(...hostile),
  )
  .filter((value) => value.isWellFormed() && findControl(value) === undefined);

describe.each(['sh', 'bash'] as const)('values in %s', (shell) => {
  it.runIf(hasShell(shell))('reach the script byte for byte, and do nothing', () => {
    fc.assert(
      fc.property(fc.array(anyText, { minLength: 1, maxLength: 24 }), (values) => {
        const settings = values.map((value, index) => text(`p${index}`, value));
        const shown = settings.map(({ name }) => `"$${name}"`).join(' ');
        const out = run(shell, renderScript(shell, `printf '%s\\0' ${shown}`, settings));
        expect(out.split('\0').slice(0, -1)).toEqual(values);
      }),
      { numRuns: 60 },
    );
    expect(readdirSync(directory)).toEqual([]);
  });

  it.runIf(hasShell(shell)).each(hostile)('%j does nothing where the author forgot the quotes', (value) => {
    const script = ': $x ${x} $(: $x) "$(: $x)"; cat <<END\n$x\nEND\n# $x\n: \'$x\'; echo done';
    const out = run(shell, renderScript(shell, script, [text('x', value)]));
    expect(out.endsWith('done\n')).toBe(true);
    expect(readdirSync(directory)).toEqual([]);
  });
});

describe('values in PowerShell', () => {
  const quotes = /['\u2018\u2019\u201a\u201b]/;

  it('are one literal: every quote inside is doubled, and undoubled they are the value', () => {
    fc.assert(
      fc.property(anyText, (value) => {
        const literal = literalFor('powershell', { type: 'string', value });
        expect(literal.startsWith("'") && literal.endsWith("'")).toBe(true);
        // As PowerShell's tokenizer reads it: a quote ends the literal unless another quote follows.
        let read = '';
        const inner = [...literal.slice(1, -1)];
        for (let i = 0; i < inner.length; i++) {
          const character = inner[i] ?? '';
          if (quotes.test(character)) {
            expect(quotes.test(inner[i + 1] ?? ''), literal).toBe(true);
            i += 1;
          }
          read += character;
        }
        expect(read).toBe(value);
      }),
    );
  });

  it('have their types', () => {
    const settings: ParameterSetting[] = [
      { name: 'n', type: 'integer', value: 7 },
      { name: 'd', type: 'number', value: -0.5 },
      { name: 'b', type: 'boolean', value: true },
      { name: 's', type: 'string', value: "it's" },
      { name: 'no', type: 'integer', value: null },
      { name: 'empty', type: 'name', value: null },
    ];
    const preamble = "$n = 7\n$d = -0.5\n$b = $true\n$s = 'it''s'\n$no = $null\n$empty = ''\n";
    expect(renderScript('pwsh', 'Get-Process', settings)).toBe(`${preamble}Get-Process`);
  });

  it.runIf(hasShell('pwsh')).each(hostile)('%j reaches the real pwsh', (value) => {
    expect(run('pwsh', renderScript('pwsh', '[Console]::Out.Write($x)', [text('x', value)]))).toBe(value);
    expect(readdirSync(directory)).toEqual([]);
  });
});

describe('values in cmd', () => {
  it('are refused when they hold anything that cmd acts upon', () => {
    fc.assert(
      fc.property(anyText, (value) => {
        const isTaken = findUnsafe('cmd', [text('x', value)]) === undefined;
        expect(isTaken).toBe(/^[A-Za-z0-9 _.:\\/@+,=~#-]*$/.test(value));
      }),
    );
    for (const value of ['a&b', 'a|b', '%PATH%', 'a"b', 'a^b', '!x!', 'a\nb', '(x)', '<x>']) {
      expect(findUnsafe('cmd', [text('x', value)]), value).toBe('x');
    }
  });

  it('stand where their names stood, once', () => {
    const settings = [text('dir', 'C:\\Temp'), text('n', '1')];
    expect(renderScript('cmd', 'dir "%dir%" %DIR% %n% %other%', settings)).toBe(
      'dir "C:\\Temp" C:\\Temp 1 %other%',
    );
  });
});

describe('types', () => {
  it.each<[ParameterType, ParameterValue[], ParameterValue[]]>([
    ['integer', [0, -5, '12', 1e15], [1.5, '1.0e3', 'x', '', ' 1', '0x10', true, '1;id', 1e16]],
    ['number', [0.25, '-1.5', 3], ['1e-9', 1e-9, 1e300, 'NaN', '1,5', '1..2', '$(id)']],
    ['boolean', [true, 'false', 'TRUE'], ['yes', 1, '', '$true']],
    ['name', ['nginx', 'w3wp.exe', 'a@b', '东京'], ['-rf', '', 'a b', 'a;b', '$x', 'a/b', "a'b", 'a\nb']],
    ['host', ['localhost', 'a-b.example.org', '10.0.0.1', '::1'], ['-x', '', 'a b', 'a;b', '$(id)', 'a_/b']],
    [
      'path',
      ['/var/log', 'C:\\Temp\\a b', '.', "it's"],
      ['-rf', '', '../x', 'a/../b', 'a\nb', 'C:\\..\\x', 'a\0b'],
    ],
    ['string', ['', '-rf', "'", 'a\nb', 'x'.repeat(4096)], ['\u001b[2J', 'a\0b', '\ud800', 'a\rb']],
  ])('%s', (type, taken, refused) => {
    const parameter = declare({ name: 'x', type });
    for (const value of taken) expect(checkValue(parameter, value), String(value)).toHaveProperty('value');
    for (const value of refused)
      expect(checkValue(parameter, value), String(value)).toHaveProperty('problem');
  });

  it('numbers have bounds, choices their options', () => {
    const port = declare({ name: 'port', type: 'integer', min: 1, max: 10 });
    expect([0, 1, 10, 11].map((value) => 'value' in checkValue(port, value))).toEqual([
      false,
      true,
      true,
      false,
    ]);
    const level = declare({ name: 'level', type: 'choice', options: ['low', 'high'] });
    expect(checkValue(level, 'high')).toEqual({ value: 'high' });
    expect(checkValue(level, 'High')).toHaveProperty('problem');
  });

  it('a value is given, or the default, or nothing', () => {
    const saved = content({
      parameters: [{ name: 'a', required: true }, { name: 'b', type: 'integer', default: 3 }, { name: 'c' }],
    });
    expect(settingsOf(saved, {})).toMatchObject({
      issues: [{ path: ['parameters', 'a'], message: 'is required' }],
    });
    expect(settingsOf(saved, { a: '' })).toMatchObject({
      settings: [{ value: '' }, { value: 3 }, { value: null }],
    });
    expect(settingsOf(saved, { a: 'x', d: 'y' })).toMatchObject({
      issues: [{ path: ['parameters', 'd'], message: 'is no parameter of it' }],
    });
  });

  it('dex clients give values without a declaration: those the script reads are text', () => {
    const saved = content({ scripts: { any: 'Get-Service $Service' } });
    const given = { Service: "x'; id", Other: 'y' };
    expect(settingsOf(saved, given, { allowUndeclared: true })).toEqual({
      settings: [{ name: 'Service', type: 'string', value: "x'; id" }],
    });
    const path = content({ scripts: { any: 'echo $PATH' } });
    expect(settingsOf(path, { PATH: '/tmp' }, { allowUndeclared: true })).toHaveProperty('issues');
    const digit = content({ scripts: { any: 'echo $1a' } });
    expect(settingsOf(digit, { '1a': 'x' }, { allowUndeclared: true })).toEqual({ settings: [] });
    // Nothing gets around a declaration.
    const narrow = content({
      scripts: { any: 'echo $level' },
      parameters: [{ name: 'level', type: 'choice', options: ['low'], default: 'low' }],
    });
    expect(settingsOf(narrow, { Level: '-rf' }, { allowUndeclared: true })).toEqual({
      settings: [{ name: 'level', type: 'choice', value: 'low' }],
    });
    expect(settingsOf(path, { 'a.*b': '/tmp' }, { allowUndeclared: true })).toEqual({ settings: [] });
  });
});

describe('a saved command', () => {
  it.each<[string, object, (string | number)[]]>([
    ['a variable of sh', { scripts: { sh: 'x' }, parameters: [{ name: 'PATH' }] }, ['parameters', 0, 'name']],
    [
      'a variable of bash',
      { scripts: { bash: 'x' }, parameters: [{ name: 'BASH_ENV' }] },
      ['parameters', 0, 'name'],
    ],
    [
      'a variable of PowerShell',
      { scripts: { powershell: 'x' }, parameters: [{ name: 'Args' }] },
      ['parameters', 0, 'name'],
    ],
    ['the same name twice', { parameters: [{ name: 'a' }, { name: 'A' }] }, ['parameters', 1, 'name']],
    [
      'a default of another type',
      { parameters: [{ name: 'a', type: 'integer', default: 'x' }] },
      ['parameters', 0, 'default'],
    ],
    [
      'bounds the wrong way round',
      { parameters: [{ name: 'a', type: 'integer', min: 2, max: 1 }] },
      ['parameters', 0, 'min'],
    ],
    [
      'a script that begins with param',
      { scripts: { powershell: 'param($x) $x' }, parameters: [{ name: 'a' }] },
      ['scripts', 'powershell'],
    ],
    ...[
      '# what it does\r\n\r\nparam($x) $x',
      '<#\n.SYNOPSIS\nWhat it does\n#>\nparam($x) $x',
      "[CmdletBinding(DefaultParameterSetName = 'a')]\n[OutputType([string])]\nparam($x) $x",
      '#requires -Version 5\n<# a #> using namespace System.IO\n1',
    ].map((powershell): [string, object, (string | number)[]] => [
      `param behind what may precede it: ${JSON.stringify(powershell)}`,
      { scripts: { powershell }, parameters: [{ name: 'a' }] },
      ['scripts', 'powershell'],
    ]),
    ['control characters', { scripts: { sh: 'echo \u001b[2K' } }, ['scripts', 'sh']],
    [
      'free text where it may run undecided',
      { autoApprove: true, parameters: [{ name: 'a' }] },
      ['parameters', 0, 'type'],
    ],
  ])('is refused with %s', (_what, facts, path) => {
    expect(contentIssues(content(facts)).map((issue) => issue.path)).toEqual([path]);
  });

  it('may be named as people name things', () => {
    const names = ['Path', 'LogName', 'ComputerName', 'count', 'service', 'Level', 'Drive', 'Days'];
    expect(contentIssues(content({ parameters: names.map((name) => ({ name })) }))).toEqual([]);
  });
});

describe('the script for an agent', () => {
  const scripts = { powershell: 'P', sh: 'S', any: 'A' };
  it.each([
    [{ shells: ['sh', 'bash'], defaultShell: 'bash' }, {}, { shell: 'bash', script: 'S' }],
    [{ shells: ['bash', 'sh', 'pwsh'], defaultShell: 'bash' }, {}, { shell: 'bash', script: 'S' }],
    [
      { shells: ['bash', 'sh', 'pwsh'], defaultShell: 'bash' },
      { preferPowershell: true },
      { shell: 'pwsh', script: 'P' },
    ],
    [{ shells: ['powershell', 'cmd'], defaultShell: 'cmd' }, {}, { shell: 'powershell', script: 'P' }],
    [{ shells: ['cmd'], defaultShell: 'cmd' }, {}, { shell: 'cmd', script: 'A' }],
    [{ shells: [], defaultShell: null }, {}, { shell: 'sh', script: 'S' }],
    [
      { shells: ['sh', 'bash'], defaultShell: 'sh' },
      { shell: 'bash' as const },
      { shell: 'bash', script: 'S' },
    ],
    [{ shells: ['sh'], defaultShell: 'sh' }, { shell: 'pwsh' as const }, undefined],
  ])('%j %j', (agent, wish, chosen) => {
    expect(chooseScript(scripts, { os: 'linux', ...agent }, wish)).toEqual(chosen);
  });

  it('is PowerShell on a Windows agent that never connected', () => {
    const agent = { os: 'Windows 11', shells: [], defaultShell: null };
    expect(chooseScript(scripts, agent)).toEqual({ shell: 'powershell', script: 'P' });
    expect(chooseScript({ any: 'A' }, agent)).toEqual({ shell: 'powershell', script: 'A' });
  });

  it('is none when nothing fits', () => {
    expect(chooseScript({ cmd: 'C' }, { os: null, shells: ['sh'], defaultShell: 'sh' })).toBeUndefined();
  });
});

describe('an instance that may run undecided', () => {
  const saved = content({
    autoApprove: true,
    scripts: { sh: 'systemctl restart "$unit"', powershell: 'Restart-Service $unit' },
    parameters: [
      { name: 'unit', type: 'name', required: true },
      { name: 'wait', type: 'integer', default: 5, min: 1, max: 60 },
    ],
  });
  const rendered = (shell: 'sh' | 'bash' | 'pwsh', given: Record<string, ParameterValue>): string => {
    const checked = settingsOf(saved, given);
    if ('issues' in checked) throw new Error('not permitted');
    const template = (shell === 'pwsh' ? saved.scripts.powershell : saved.scripts.sh) ?? '';
    return renderScript(shell, template, checked.settings);
  };

  it.each(['sh', 'bash', 'pwsh'] as const)('is what rendering gives in %s', (shell) => {
    fc.assert(
      fc.property(
        fc.stringMatching(/^[A-Za-z0-9][A-Za-z0-9_.@:+-]{0,20}$/),
        fc.integer({ min: 1, max: 60 }),
        (unit, wait) => {
          expect(isInstance(saved, { shell, script: rendered(shell, { unit, wait }) })).toBe(true);
        },
      ),
    );
  });

  it('is not what differs by one character', () => {
    const script = rendered('sh', { unit: 'nginx' });
    fc.assert(
      fc.property(fc.nat(script.length), fc.constantFrom(...' \'"\n;$`&|-x1'), (at, character) => {
        const changed = script.slice(0, at) + character + script.slice(at);
        // Another permitted name or number is an instance; nothing else is.
        const [, unit, wait] =
          /^unit='([\w.@:+-]+)'\nwait='(\d+)'\nsystemctl restart "\$unit"$/.exec(changed) ?? [];
        const isOther =
          unit !== undefined &&
          !unit.startsWith('-') &&
          Number(wait) >= 1 &&
          Number(wait) <= 60 &&
          !/^0/.test(wait ?? '');
        expect(isInstance(saved, { shell: 'sh', script: changed }), changed).toBe(isOther);
      }),
      { numRuns: 500 },
    );
  });

  it.each([
    ["unit='x';id;'y'\nwait='5'\n", 'another command'],
    ["unit='x'\nwait='5'\nid\n", 'a line more'],
    ["wait='5'\nunit='x'\n", 'another order'],
    ["unit='-x'\nwait='5'\n", 'a value that is not permitted'],
    ["unit='x'\nwait='61'\n", 'a number out of bounds'],
    ["unit=''\nwait='5'\n", 'no value where one is required'],
    ["unit=$(id)\nwait='5'\n", 'no literal'],
  ])('is not %j (%s)', (head) => {
    expect(isInstance(saved, { shell: 'sh', script: `${head}systemctl restart "$unit"` })).toBe(false);
  });

  it('is never one of a text for any shell, nor one with a free string', () => {
    expect(isInstance({ scripts: { any: 'id' }, parameters: [] }, { shell: 'sh', script: 'id' })).toBe(false);
    const free = { scripts: { sh: 'echo "$x"' }, parameters: [declare({ name: 'x' })] };
    expect(isInstance(free, { shell: 'sh', script: 'x=\'a\'\necho "$x"' })).toBe(false);
  });
});
