/** Typed parameters: what a declaration must fulfil, and which values it takes. */
import { z } from 'zod';
import type { ValidationIssue } from '../../contracts/errors.ts';
import {
  type ParameterValue,
  parameterNameSchema,
  type SavedContent,
  type SavedParameter,
  type ScriptKind,
} from '../../contracts/saved-commands.ts';
import { findControl } from '../danger/unseen.ts';
import type { ParameterSetting } from './render.ts';
import { isReservedName } from './reserved.ts';

/** Largest amount of a number: above it, and below its inverse, JavaScript writes exponents. */
const MAX_NUMBER = 1e15;

const wordType = /^[\p{L}\p{N}_@+.][\p{L}\p{N}_.@:+-]*$/u;
const hostType = /^(?=.{1,253}$)[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?\.?$/;
const ipv6 = z.ipv6();
const decimal = /^-?\d+(?:\.\d+)?$/;

const shellKinds = {
  sh: 'posix',
  bash: 'posix',
  pwsh: 'powershell',
  powershell: 'powershell',
  cmd: 'cmd',
  any: 'any',
} as const satisfies Record<ScriptKind, string>;

type Issue = Pick<ValidationIssue, 'path' | 'message'>;

/** What is wrong with a saved command as a whole, beyond its shape. */
export function contentIssues(content: SavedContent): ValidationIssue[] {
  const issues: Issue[] = [];
  const kinds = scriptsOf(content).map(([kind]) => kind);
  const names = new Set<string>();
  content.parameters.forEach((parameter, index) => {
    const at = (field: string) => ['parameters', index, field];
    const key = parameter.name.toLowerCase();
    if (names.has(key)) issues.push({ path: at('name'), message: 'is the name of another parameter' });
    names.add(key);
    const taken = kinds.find((kind) => isReservedName(shellKinds[kind], parameter.name));
    if (taken !== undefined) {
      issues.push({ path: at('name'), message: `is a variable with a meaning of its own (${taken})` });
    }
    if (parameter.min !== null && parameter.max !== null && parameter.min > parameter.max) {
      issues.push({ path: at('min'), message: 'must not be above max' });
    }
    if (parameter.type === 'choice' && parameter.options.length === 0) {
      issues.push({ path: at('options'), message: 'are what a choice has' });
    } else if (parameter.default !== null) {
      const checked = checkValue(parameter, parameter.default);
      if ('problem' in checked) issues.push({ path: at('default'), message: checked.problem });
    }
    if (content.autoApprove && parameter.type === 'string') {
      const message = 'must be narrower than string where autoApprove is set';
      issues.push({ path: at('type'), message });
    }
  });
  for (const [kind, script] of scriptsOf(content)) {
    const control = findControl(script);
    if (control !== undefined) {
      const message = `must not hold control characters other than tab and line break, but has ${control}`;
      issues.push({ path: ['scripts', kind], message });
    }
    if (content.parameters.length > 0 && mustStandFirst(script)) {
      issues.push({
        path: ['scripts', kind],
        message: 'must not begin with param or using: assignments precede it',
      });
    }
  }
  return issues.map(inBody);
}

/** Does it begin with what PowerShell takes only before every statement? Comments and attributes may precede it. */
function mustStandFirst(script: string): boolean {
  let rest = script.trimStart();
  for (let length = headLength(rest); length > 0; length = headLength(rest)) {
    rest = rest.slice(length).trimStart();
  }
  return /^(?:param\s*\(|using\s)/i.test(rest);
}

/** Of the comment or attribute that the text begins with; 0: it begins with neither. */
function headLength(text: string): number {
  if (text.startsWith('<#')) {
    const end = text.indexOf('#>', 2);
    return end === -1 ? text.length : end + 2;
  }
  if (text.startsWith('#')) {
    const end = text.indexOf('\n');
    return end === -1 ? text.length : end + 1;
  }
  if (!text.startsWith('[')) return 0;
  let depth = 0;
  for (let at = 0; at < text.length; at++) {
    if (text[at] === '[') depth += 1;
    else if (text[at] === ']') depth -= 1;
    if (depth === 0) return at + 1;
  }
  return 0;
}

/** The scripts that are there, in the order of the contract. */
export const scriptsOf = ({ scripts }: Pick<SavedContent, 'scripts'>): [ScriptKind, string][] =>
  (Object.keys(shellKinds) as ScriptKind[]).flatMap((kind): [ScriptKind, string][] => {
    const script = scripts[kind];
    return script === undefined ? [] : [[kind, script]];
  });

export interface SettingsOptions {
  /**
   * As clients of dex have it: where nothing is declared, values are text whose name a script reads; where something is,
   * others are left out. (They must not get around a declaration: PowerShell tells no `Level` from `level`.)
   */
  allowUndeclared?: boolean;
}

/** Values for every parameter, in the order of the declarations; or what is wrong with those given. */
export function settingsOf(
  content: Pick<SavedContent, 'parameters' | 'scripts'>,
  given: Readonly<Record<string, ParameterValue | null>>,
  { allowUndeclared = false }: SettingsOptions = {},
): { settings: ParameterSetting[] } | { issues: ValidationIssue[] } {
  const issues: Issue[] = [];
  const settings: ParameterSetting[] = [];
  const values = new Map(Object.entries(given).filter(([, value]) => value !== null));
  for (const parameter of content.parameters) {
    const { name, type } = parameter;
    const value = values.get(name) ?? parameter.default;
    values.delete(name);
    if (value === null) {
      if (parameter.required) issues.push({ path: ['parameters', name], message: 'is required' });
      settings.push({ name, type, value: null });
      continue;
    }
    const checked = checkValue(parameter, value);
    if ('problem' in checked) issues.push({ path: ['parameters', name], message: checked.problem });
    else settings.push({ name, type, value: checked.value });
  }
  for (const [name, value] of values) {
    if (!allowUndeclared) issues.push({ path: ['parameters', name], message: 'is no parameter of it' });
    else if (content.parameters.length === 0 && isRead(content, name)) {
      const problem = isReservedName('any', name) ? 'has a meaning of its own' : textProblem(String(value));
      if (problem === undefined) settings.push({ name, type: 'string', value });
      else issues.push({ path: ['parameters', name], message: problem });
    }
  }
  return issues.length > 0 ? { issues: issues.map(inBody) } : { settings };
}

/** Does a script name this variable? */
const isRead = (content: Pick<SavedContent, 'scripts'>, name: string): boolean =>
  parameterNameSchema.safeParse(name).success &&
  scriptsOf({ scripts: content.scripts }).some(([, script]) =>
    new RegExp(`\\$\\{?${name}\\b|%${name}%`, 'i').test(script),
  );

type Checked = { value: string | number | boolean } | { problem: string };

/** A value as its type has it; numbers and truth values may come as text, as forms send them. */
export function checkValue(parameter: SavedParameter, value: ParameterValue): Checked {
  const text = String(value);
  switch (parameter.type) {
    case 'integer':
    case 'number':
      return checkNumber(parameter, value);
    case 'boolean': {
      const word = text.toLowerCase();
      return word === 'true' || word === 'false'
        ? { value: word === 'true' }
        : { problem: 'must be true or false' };
    }
    case 'choice':
      return parameter.options.includes(text)
        ? { value: text }
        : { problem: `must be one of ${parameter.options.slice(0, 10).join(', ')}` };
    case 'name':
      return wordType.test(text)
        ? { value: text }
        : { problem: 'must be one word of letters, digits and . _ - @ + :, not beginning with -' };
    case 'host':
      return hostType.test(text) || ipv6.safeParse(text).success
        ? { value: text }
        : { problem: 'must be a host name or an address' };
    case 'path':
      return checkPath(text);
    case 'string': {
      const problem = textProblem(text);
      return problem === undefined ? { value: text } : { problem };
    }
  }
}

function checkNumber({ type, min, max }: SavedParameter, value: ParameterValue): Checked {
  const text = String(value);
  if (!decimal.test(text))
    return { problem: type === 'integer' ? 'must be a whole number' : 'must be a number' };
  const number = Number(text);
  // What is written differently when it is written again would not be the value that was given.
  if (Math.abs(number) > MAX_NUMBER || !decimal.test(String(number))) {
    return { problem: `must be between ${-MAX_NUMBER} and ${MAX_NUMBER}, with few decimals` };
  }
  if (type === 'integer' && !Number.isInteger(number)) return { problem: 'must be a whole number' };
  if (min !== null && number < min) return { problem: `must be at least ${min}` };
  if (max !== null && number > max) return { problem: `must be at most ${max}` };
  return { value: number };
}

function checkPath(text: string): Checked {
  const problem = textProblem(text);
  if (problem !== undefined) return { problem };
  if (text === '' || text.startsWith('-') || /[\t\n\r]/.test(text)) {
    return { problem: 'must be a path in one line, not beginning with -' };
  }
  return text.split(/[\\/]/).includes('..') ? { problem: 'must be a path without ..' } : { value: text };
}

/** What no act may hold (promise P5). */
function textProblem(text: string): string | undefined {
  if (!text.isWellFormed()) return 'must be well-formed Unicode';
  const control = findControl(text);
  return control && `must not hold control characters, but has ${control}`;
}

const inBody = (issue: Issue): ValidationIssue => ({ in: 'body', type: 'value_error', ...issue });
