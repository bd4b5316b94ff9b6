/**
 * Tag expressions: which agents are meant, by their tags. `web and not (old or "test lab")`: words or quoted texts are
 * tags, `not` binds before `and`, `and` before `or`.
 */
import { problem, type SteelthreadError, type ValidationIssue } from '../../contracts/errors.ts';
import type { TagCondition } from '../../db/agents.ts';

export type TagExpression =
  | { kind: 'tag'; tag: string }
  | { kind: 'not'; of: TagExpression }
  | { kind: 'and' | 'or'; left: TagExpression; right: TagExpression };

/** Most tags in an expression. */
const MAX_TAGS = 32;
/** Deepest nesting of parentheses and `not`. */
const MAX_DEPTH = 16;

const tokenPattern = /\s*(?:([()])|"([^"\\]{1,64})"|([A-Za-z0-9][A-Za-z0-9._:/-]{0,63}))/y;

type Token = { kind: 'sign'; text: string } | { kind: 'tag'; text: string };

/** Where the expression stands in the request, for the refusal. */
type Place = Pick<ValidationIssue, 'in' | 'path'>;
const matchInQuery: Place = { in: 'query', path: ['match'] };

/** @throws validation_failed naming what is wrong, and where */
export function parseTagExpression(text: string, place: Place = matchInQuery): TagExpression {
  const refuse = (message: string): SteelthreadError =>
    problem(
      'validation_failed',
      {},
      { issues: [{ ...place, message: `The tag expression ${message}`, type: 'value_error' }] },
    );
  const tokens = tokensOf(text, refuse);
  let at = 0;
  let tags = 0;
  const isSign = (sign: string): boolean => {
    const token = tokens[at];
    return token?.kind === 'sign' && token.text === sign;
  };
  const chain = (
    sign: 'and' | 'or',
    part: (depth: number) => TagExpression,
    depth: number,
  ): TagExpression => {
    let left = part(depth);
    while (isSign(sign)) {
      at += 1;
      left = { kind: sign, left, right: part(depth) };
    }
    return left;
  };
  const or = (depth: number): TagExpression => chain('or', and, depth);
  const and = (depth: number): TagExpression => chain('and', one, depth);
  const one = (depth: number): TagExpression => {
    if (depth > MAX_DEPTH) throw refuse('is nested too deeply');
    const token = tokens[at];
    at += 1;
    if (token === undefined) throw refuse('ends where a tag is expected');
    if (token.kind === 'tag') {
      tags += 1;
      if (tags > MAX_TAGS) throw refuse(`names more than ${MAX_TAGS} tags`);
      return { kind: 'tag', tag: token.text };
    }
    if (token.text === 'not') return { kind: 'not', of: one(depth + 1) };
    if (token.text !== '(') throw refuse(`has ${token.text} where a tag is expected`);
    const inner = or(depth + 1);
    if (!isSign(')')) throw refuse('lacks a closing parenthesis');
    at += 1;
    return inner;
  };
  const expression = or(0);
  const rest = tokens[at];
  if (rest !== undefined) throw refuse(`has ${rest.text} where and, or or the end is expected`);
  return expression;
}

function tokensOf(text: string, refuse: (message: string) => SteelthreadError): Token[] {
  const tokens: Token[] = [];
  const trimmed = text.trimEnd();
  tokenPattern.lastIndex = 0;
  while (tokenPattern.lastIndex < trimmed.length) {
    const from = tokenPattern.lastIndex;
    const match = tokenPattern.exec(trimmed);
    if (match === null) throw refuse(`cannot be read at character ${from + 1}`);
    const [, parenthesis, quoted, word] = match;
    if (quoted !== undefined) tokens.push({ kind: 'tag', text: quoted });
    else if (parenthesis !== undefined) tokens.push({ kind: 'sign', text: parenthesis });
    else if (word !== undefined && /^(and|or|not)$/i.test(word))
      tokens.push({ kind: 'sign', text: word.toLowerCase() });
    else if (word !== undefined) tokens.push({ kind: 'tag', text: word });
  }
  return tokens;
}

/** The expression as SQL over `a.tags`, its tags as bindings. @throws validation_failed */
export function conditionOfTags(text: string): TagCondition {
  const bindings: Record<string, string> = {};
  const sqlOf = (expression: TagExpression): string => {
    if (expression.kind === 'not') return `not ${sqlOf(expression.of)}`;
    if (expression.kind !== 'tag')
      return `(${sqlOf(expression.left)} ${expression.kind} ${sqlOf(expression.right)})`;
    const name = `match${Object.keys(bindings).length}`;
    bindings[name] = expression.tag;
    return `(a.tags @> array[cast(:${name} as text)])`;
  };
  return { sql: sqlOf(parseTagExpression(text)), bindings };
}

/** Does an agent with these tags fit? */
export function matchesTags(expression: TagExpression, tags: readonly string[]): boolean {
  if (expression.kind === 'tag') return tags.includes(expression.tag);
  if (expression.kind === 'not') return !matchesTags(expression.of, tags);
  const left = matchesTags(expression.left, tags);
  const right = matchesTags(expression.right, tags);
  return expression.kind === 'and' ? left && right : left || right;
}
