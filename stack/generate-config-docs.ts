/**
 * Renders `.env.example` and `docs/reference/configuration.md` from the table of variables.
 * Run `npm run config-docs` after a change of the table; a test compares the files.
 */
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { defaultText, groups, listVariables, type Variable } from '../config/variables.ts';

type Row = Variable<unknown>;

const rows: Row[] = listVariables().map(({ variable }) => variable);

export function renderEnvExample(): string {
  const blocks = groups.map((group) => {
    const lines = rows.filter((row) => row.group === group).flatMap(envLines);
    return [`# ---- ${group} ----`, '', ...lines].join('\n');
  });
  return [
    '# Every variable Steelthread reads. A line is a comment until its # is removed; an empty value counts as not set.',
    '# Generated from config/variables.ts: do not edit. Details: docs/reference/configuration.md',
    '',
    ...blocks,
  ].join('\n');
}

function envLines(row: Row): string[] {
  const value = row.secret ? '' : (defaultText(row, false) ?? row.example);
  const unit = row.unit === undefined ? '' : ` (${row.unit})`;
  return [`# ${row.description.replaceAll('`', '')}${unit}`, `# ${row.name}=${value}`, ''];
}

export function renderConfigMarkdown(): string {
  const tables = groups.map((group) => {
    const lines = rows.filter((row) => row.group === group).map(tableLine);
    return [`## ${group}`, '', '| variable | default | meaning |', '|---|---|---|', ...lines, ''].join('\n');
  });
  return [
    '# Configuration',
    '',
    '<!-- Generated from config/variables.ts: do not edit. -->',
    '',
    'Steelthread reads its configuration from the environment, once, when a process starts. Everything that is wrong is',
    'reported together, each with the variable and the fix. An empty value counts as not set.',
    '',
    'Marks: **secret** is never logged; **settings** may be overridden by an administrator at run time.',
    '',
    '`OPENAI_*` variables are not read; the start says so: use `ANTHROPIC_*`.',
    '',
    ...tables,
  ].join('\n');
}

function tableLine(row: Row): string {
  const marks = [row.secret ? '**secret**' : '', row.settingsOverridable ? '**settings**' : ''].filter(
    Boolean,
  );
  const unit = row.unit === undefined ? '' : ` Unit: ${row.unit}.`;
  const meaning = [`${row.description}${unit}`, ...marks].join(' ');
  return `| \`${row.name}\` | ${renderDefault(row)} | ${meaning.replaceAll('|', '\\|')} |`;
}

function renderDefault(row: Row): string {
  const show = (text: string | null) => (text === null ? '–' : text === '' ? 'empty' : `\`${text}\``);
  const [development, production] = [defaultText(row, false), defaultText(row, true)];
  return development === production
    ? show(development)
    : `${show(development)}, in production ${show(production)}`;
}

/** Writes both files and returns their paths. */
export function writeConfigDocs(): string[] {
  const files = [
    { file: new URL('../.env.example', import.meta.url), text: renderEnvExample() },
    { file: new URL('../docs/reference/configuration.md', import.meta.url), text: renderConfigMarkdown() },
  ];
  for (const { file, text } of files) writeFileSync(file, text);
  return files.map(({ file }) => fileURLToPath(file));
}
