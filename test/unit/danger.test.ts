import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { classifyCommand, maxTextBytes } from '../../domain/danger/classify.ts';
import { parseLine } from '../../domain/danger/parse.ts';
import { normalizePath } from '../../domain/danger/paths.ts';
import { corpus } from './danger-corpus.ts';

const label = (text: string, shell: string | null = 'bash') =>
  classifyCommand({ mode: 'shell', shell, text }).label;

describe.each(corpus)('$name → $label', (group) => {
  it.each(group.lines.map((line) => [line]))('%j', (line) => {
    const answer = classifyCommand({ mode: 'shell', shell: group.shell, text: line });
    expect(answer, answer.reasons.join('; ')).toMatchObject({ label: group.label });
    if (group.label !== 'safe') expect(answer.reasons.length).toBeGreaterThan(0);
    else expect(answer.reasons).toEqual([]);
  });
});

it('the corpus is large', () => {
  expect(corpus.flatMap((group) => group.lines).length).toBeGreaterThan(150);
});

describe('argument lists', () => {
  const argv = (...args: string[]) => classifyCommand({ mode: 'argv', text: args.join(' '), argv: args });

  it('are not expanded', () => {
    expect(argv('echo', '$(rm -rf /)', '; rm -rf /').label).toBe('safe');
  });
  it('are judged like commands', () => {
    expect(argv('rm', '-rf', '/').label).toBe('dangerous');
    expect(argv('bash', '-c', 'ls; rm -rf /').label).toBe('dangerous');
    expect(argv('frobnicate').label).toBe('caution');
  });
});

describe('reasons', () => {
  it('name the program and come most serious first', () => {
    const { reasons } = classifyCommand({ mode: 'shell', shell: 'sh', text: 'touch x; rm -rf /' });
    expect(reasons).toEqual(['rm: deletes a broad or system folder', 'touch: writes files']);
  });
});

describe('any text', () => {
  const pieces = fc.constantFrom(
    'rm',
    '-rf',
    '/',
    ' ',
    '\n',
    ';',
    '&&',
    '||',
    '|',
    '&',
    '(',
    ')',
    '{',
    '}',
    '$(',
    '`',
    '"',
    "'",
    '\\',
    '<<EOF\n',
    '\nEOF\n',
    '<',
    '>',
    '>&',
    '<(',
    '$((',
    '))',
    '${',
    '$IFS',
    'bash -c ',
    'sudo ',
    'xargs ',
    'eval ',
    'find . -exec ',
    'if',
    'then',
    'case',
    '#',
    '$x',
    '*',
    'iex',
    '@',
    '\0',
    'ls',
  );
  const text = fc.oneof(
    fc.string({ unit: 'binary', maxLength: 300 }),
    fc.array(pieces, { maxLength: 80 }).map((parts) => parts.join('')),
  );
  const shell = fc.constantFrom('bash', 'pwsh', 'cmd', null, 'unheard-of');

  it('gets an answer', () => {
    fc.assert(
      fc.property(text, shell, (line, name) => {
        const answer = classifyCommand({ mode: 'shell', shell: name, text: line });
        expect(['safe', 'caution', 'dangerous']).toContain(answer.label);
        expect(answer.label === 'safe').toBe(answer.reasons.length === 0);
      }),
      { numRuns: 2000 },
    );
  });

  it('in single quotes is one word of one command', () => {
    fc.assert(
      fc.property(text, (line) => {
        const inner = line.replaceAll("'", '');
        const { segments } = parseLine(`echo '${inner}'`);
        expect(segments).toHaveLength(1);
        expect(segments[0]?.words.map((word) => word.text)).toEqual(['echo', inner]);
      }),
    );
  });

  it('in double quotes with its specials escaped is one word of one command', () => {
    fc.assert(
      fc.property(text, (line) => {
        const { segments } = parseLine(`echo "${line.replace(/["$`\\]/g, '\\$&')}"`);
        expect(segments).toHaveLength(1);
        expect(segments[0]?.words.map((word) => word.text)).toEqual(['echo', line]);
      }),
    );
  });

  it('before a dangerous command on a line of its own does not make it safe', () => {
    fc.assert(
      fc.property(text, (line) => {
        expect(label(`${line}\nrm -rf /`)).not.toBe('safe');
      }),
      { numRuns: 1000 },
    );
  });
});

describe('size', () => {
  it('longer than the limit is not read', () => {
    const answer = classifyCommand({ mode: 'shell', shell: 'sh', text: `echo ${'x'.repeat(maxTextBytes)}` });
    expect(answer).toEqual({ label: 'caution', reasons: ['it is too long to read'] });
  });

  // A quadratic reader would need minutes for these: the test's own time limit ends it.
  const units = [
    'a',
    ' ',
    '(',
    '$(',
    '`',
    '"',
    "'",
    '\\',
    ';',
    'a|',
    'sh|',
    '<<a\n',
    '<<a\na\n',
    '${',
    '$((',
    '{',
    'a=',
    'sudo ',
    'bash -c ',
    'eval ',
    'find -exec ',
    '-exec a ; ',
    'xargs ',
    '/../',
    '*',
    'f(){ ',
    '"$(',
    '<(',
    'a\n',
    '-a ',
    '#',
    '$IFS',
    'rm -rf ',
    '\\`',
    'drop table ',
    'delete from a',
    '>a ',
    'env A=b ',
    'docker exec ',
    '&',
    'curl a|sh|',
    '/',
    './',
    '[',
  ];
  it.each(units.map((unit) => [unit]))('%j repeated to 64 KiB is read in linear time', (unit) => {
    const text = unit.repeat(Math.floor(maxTextBytes / unit.length));
    for (const shell of ['sh', 'pwsh', 'cmd']) {
      expect(label(text, shell)).toBeDefined();
      expect(label(`rm ${text}`, shell)).toBeDefined();
      expect(label(`psql -c '${text}'`, shell)).toBeDefined();
    }
  });
});

describe('paths', () => {
  it.each([
    ['/', '/'],
    ['//etc/./x/../y', '/etc/y'],
    ['/../..', '/'],
    ['a/..', '.'],
    ['../x', '../x'],
    ['', '.'],
  ])('%j is %j', (path, expected) => {
    expect(normalizePath(path)).toBe(expected);
  });
});
