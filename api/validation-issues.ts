import type { z } from 'zod';
import type { ValidationIssue } from '../contracts/errors.ts';

/** Findings that an answer lists: without a bound it is many times as long as the request. */
export const MAX_ISSUES = 100;
/** Longest name of a field that an answer repeats, characters. */
const MAX_NAME_LENGTH = 200;

type ZodIssue = z.core.$ZodIssue;

/** zod's findings in our neutral form; `value` is what was parsed, it tells what is missing from what is wrong. */
export function toValidationIssues(
  issues: readonly ZodIssue[],
  value: unknown,
  where: ValidationIssue['in'],
): ValidationIssue[] {
  const found = issues.slice(0, MAX_ISSUES).flatMap((issue): ValidationIssue[] => {
    const path = issue.path.filter((part) => typeof part !== 'symbol');
    if (issue.code === 'unrecognized_keys') {
      return issue.keys.slice(0, MAX_ISSUES).map((key) => ({
        in: where,
        path: [...path, key],
        message: 'Extra inputs are not permitted',
        type: 'extra_forbidden',
      }));
    }
    if (isMissing(issue, valueAt(value, path))) {
      return [{ in: where, path, message: 'Field required', type: 'missing' }];
    }
    return [{ in: where, path, message: issue.message, type: pydanticType(issue) }];
  });
  return found.slice(0, MAX_ISSUES).map((issue) => ({ ...issue, path: issue.path.map(bounded) }));
}

/** A name of the client's own choosing is repeated as far as it tells which one is meant. */
const bounded = (part: string | number): string | number =>
  typeof part === 'string' && part.length > MAX_NAME_LENGTH ? `${part.slice(0, MAX_NAME_LENGTH)}…` : part;

function isMissing(issue: ZodIssue, found: unknown): boolean {
  return found === undefined && ['invalid_type', 'invalid_value', 'invalid_union'].includes(issue.code);
}

function valueAt(value: unknown, path: readonly (string | number)[]): unknown {
  let found = value;
  for (const part of path) {
    if (typeof found !== 'object' || found === null) return undefined;
    found = Reflect.get(found, part);
  }
  return found;
}

/** The name pydantic has for this kind of problem; clients of two families read it. */
function pydanticType(issue: ZodIssue): string {
  switch (issue.code) {
    case 'invalid_type':
      return `${typeNames[issue.expected] ?? issue.expected}_type`;
    case 'too_small':
      return sizeType(issue.origin, 'too_short', 'greater_than_equal');
    case 'too_big':
      return sizeType(issue.origin, 'too_long', 'less_than_equal');
    case 'invalid_format':
      if (issue.format === 'regex') return 'string_pattern_mismatch';
      return issue.format === 'guid' ? 'uuid_parsing' : `${issue.format}_parsing`;
    case 'invalid_value':
      return issue.values.length > 1 ? 'enum' : 'literal_error';
    default:
      return 'value_error';
  }
}

const typeNames: Readonly<Record<string, string>> = {
  array: 'list',
  record: 'dict',
  object: 'dict',
  boolean: 'bool',
  number: 'float',
};

function sizeType(origin: string, ofLength: string, ofNumber: string): string {
  if (origin === 'string') return `string_${ofLength}`;
  return origin === 'array' || origin === 'set' || origin === 'map' ? ofLength : ofNumber;
}
