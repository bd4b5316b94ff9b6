import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  conditionOfTags,
  matchesTags,
  parseTagExpression,
  type TagExpression,
} from '../../domain/agents/tag-expression.ts';

const fits = (text: string, ...tags: string[]): boolean => matchesTags(parseTagExpression(text), tags);

describe('a tag expression', () => {
  it('binds not before and, and before or, and takes parentheses and quoted tags', () => {
    expect(fits('web', 'web')).toBe(true);
    expect(fits('web and not old', 'web')).toBe(true);
    expect(fits('web and not old', 'web', 'old')).toBe(false);
    expect(fits('a or b and c', 'a')).toBe(true);
    expect(fits('(a or b) and c', 'a')).toBe(false);
    expect(fits('not a and b', 'b')).toBe(true);
    expect(fits('NOT (a OR b)', 'c')).toBe(true);
    expect(fits('"test lab" and "and"', 'test lab', 'and')).toBe(true);
    expect(fits('site:north/1 and v1.2_b-3', 'site:north/1', 'v1.2_b-3')).toBe(true);
  });

  it('becomes SQL whose tags are bindings', () => {
    expect(conditionOfTags('a and not (b or "x\'); drop")')).toEqual({
      sql:
        '((a.tags @> array[cast(:match0 as text)]) and not ' +
        '((a.tags @> array[cast(:match1 as text)]) or (a.tags @> array[cast(:match2 as text)])))',
      bindings: { match0: 'a', match1: 'b', match2: "x'); drop" },
    });
  });

  it.each([
    '',
    'and',
    'a b',
    'a and',
    '(a',
    'a)',
    'not',
    "a'; --",
    '"a',
    '()',
    'a or or b',
    Array.from({ length: 33 }, () => 'a').join(' or '),
    `${'('.repeat(20)}a${')'.repeat(20)}`,
    `${'not '.repeat(20)}a`,
  ])('is refused when it is %j', (text) => {
    expect(() => parseTagExpression(text)).toThrow(expect.objectContaining({ code: 'validation_failed' }));
  });

  it('is read again as it is written', () => {
    const tag = fc
      .constantFrom('a', 'b', 'c', 'test lab')
      .map((name) => ({ kind: 'tag' as const, tag: name }));
    const { expression } = fc.letrec<{ expression: TagExpression }>((tie) => ({
      expression: fc.oneof(
        { depthSize: 'small', withCrossShrink: true },
        tag,
        fc.record({ kind: fc.constant('not' as const), of: tie('expression') }),
        fc.record({
          kind: fc.constantFrom('and' as const, 'or' as const),
          left: tie('expression'),
          right: tie('expression'),
        }),
      ),
    }));
    const write = (one: TagExpression): string => {
      if (one.kind === 'tag') return `"${one.tag}"`;
      if (one.kind === 'not') return `not (${write(one.of)})`;
      return `(${write(one.left)}) ${one.kind} (${write(one.right)})`;
    };
    const sizeOf = (one: TagExpression): { tags: number; depth: number } => {
      if (one.kind === 'tag') return { tags: 1, depth: 0 };
      const parts = one.kind === 'not' ? [sizeOf(one.of)] : [sizeOf(one.left), sizeOf(one.right)];
      const tags = parts.reduce((sum, part) => sum + part.tags, 0);
      return { tags, depth: 2 + Math.max(...parts.map((part) => part.depth)) };
    };
    fc.assert(
      fc.property(expression, fc.subarray(['a', 'b', 'c', 'test lab']), (one, tags) => {
        const { tags: count, depth } = sizeOf(one);
        fc.pre(count <= 32 && depth <= 14);
        expect(matchesTags(parseTagExpression(write(one)), tags)).toBe(matchesTags(one, tags));
      }),
    );
  });
});
