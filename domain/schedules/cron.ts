/**
 * Cron expressions of five fields, as Temporal takes them: a day has to fit both day fields when both are given
 * (classic cron takes either).
 */
import type { Calendar } from '../../contracts/schedules.ts';

interface Field {
  name: 'minute' | 'hour' | 'dayOfMonth' | 'month' | 'dayOfWeek';
  min: number;
  max: number;
  names?: readonly string[];
}

const months = ['jan', 'feb', 'mar', 'apr', 'may', 'jun', 'jul', 'aug', 'sep', 'oct', 'nov', 'dec'];
const days = ['sun', 'mon', 'tue', 'wed', 'thu', 'fri', 'sat'];

const fields: readonly Field[] = [
  { name: 'minute', min: 0, max: 59 },
  { name: 'hour', min: 0, max: 23 },
  { name: 'dayOfMonth', min: 1, max: 31 },
  { name: 'month', min: 1, max: 12, names: months },
  // 7 is Sunday as well.
  { name: 'dayOfWeek', min: 0, max: 7, names: days },
];

const shorthands: Readonly<Record<string, string>> = {
  '@yearly': '0 0 1 1 *',
  '@annually': '0 0 1 1 *',
  '@monthly': '0 0 1 * *',
  '@weekly': '0 0 * * 0',
  '@daily': '0 0 * * *',
  '@midnight': '0 0 * * *',
  '@hourly': '0 * * * *',
};

/** The five fields of an expression or of what a shorthand stands for; otherwise what is wrong. */
export function expandCron(expression: string): string[] | { error: string } {
  const trimmed = expression.trim();
  if (trimmed.startsWith('@')) {
    const known = shorthands[trimmed.toLowerCase()];
    if (known === undefined) {
      const names = Object.keys(shorthands).join(', ');
      return { error: `knows ${names}; for @every use a timing of kind interval` };
    }
    return known.split(' ');
  }
  const parts = trimmed.split(/\s+/);
  if (parts.length !== fields.length) {
    return { error: 'must have five fields: minute, hour, day of month, month, day of week' };
  }
  return parts;
}

/** The times an expression means, or what is wrong with it. */
export function parseCron(expression: string): { calendar: Calendar } | { error: string } {
  const parts = expandCron(expression);
  if ('error' in parts) return parts;
  const calendar: Calendar = { second: [0], minute: [0], hour: [0] };
  for (const [index, field] of fields.entries()) {
    const values = parseField(field, parts[index] ?? '');
    if ('error' in values) return values;
    if (values.all && field.name !== 'minute' && field.name !== 'hour') continue;
    calendar[field.name] = values.values;
  }
  return { calendar };
}

type FieldValues = { all: boolean; values: number[] };

function parseField(field: Field, text: string): FieldValues | { error: string } {
  const values = new Set<number>();
  for (const item of text.split(',')) {
    const range = parseItem(field, item);
    if (range === undefined) {
      return { error: `has ${JSON.stringify(item)} as ${wordsOf(field.name)}, which is not understood` };
    }
    // A wildcard of the week ends with Saturday; 7 only stands for Sunday where it is written.
    for (let value = range.from; value <= range.to; value += range.step) {
      values.add(field.name === 'dayOfWeek' ? value % 7 : value);
    }
  }
  const last = field.name === 'dayOfWeek' ? 6 : field.max;
  return { all: values.size === last - field.min + 1, values: [...values].sort((a, b) => a - b) };
}

function parseItem(field: Field, item: string): { from: number; to: number; step: number } | undefined {
  const match = /^(?:(\*|\?)|([a-z\d]+)(?:-([a-z\d]+))?)(?:\/(\d{1,4}))?$/i.exec(item);
  if (match === null) return undefined;
  const [, wildcard, first, second, stepText] = match;
  const step = stepText === undefined ? 1 : Number(stepText);
  if (step === 0) return undefined;
  const last = field.name === 'dayOfWeek' ? 6 : field.max;
  if (wildcard !== undefined) return { from: field.min, to: last, step };
  const from = valueOf(field, first ?? '');
  // `5/15` means from 5 to the end.
  const to = second !== undefined ? valueOf(field, second) : stepText === undefined ? from : last;
  if (from === undefined || to === undefined || from > to) return undefined;
  return { from, to, step };
}

function valueOf(field: Field, text: string): number | undefined {
  const named = field.names?.indexOf(text.toLowerCase()) ?? -1;
  if (named >= 0) return named + field.min;
  if (!/^\d{1,2}$/.test(text)) return undefined;
  const value = Number(text);
  return value >= field.min && value <= field.max ? value : undefined;
}

const wordsOf = (name: Field['name']): string =>
  ({ minute: 'minute', hour: 'hour', dayOfMonth: 'day of month', month: 'month', dayOfWeek: 'day of week' })[
    name
  ];
