/**
 * From a script and values to the text that runs.
 *
 *  A. In sh, bash and PowerShell a value never becomes part of the script. Assignments of quoted literals are put in
 *     front of it, and the script reads variables: whatever stands in a value is data, however the author quoted.
 *  B. cmd expands its variables before it parses, so nothing can be quoted there: only values of harmless characters
 *     are taken, and they are put in the place of `%name%`.
 */
import type { ShellName } from '../../contracts/act.ts';
import type { ParameterType } from '../../contracts/saved-commands.ts';

/** A checked value of a declared type; null: not given and no default. */
export interface ParameterSetting {
  name: string;
  type: ParameterType;
  value: string | number | boolean | null;
}

/** What cmd gives no meaning to, quoted or not. */
const harmlessInCmd = /^[A-Za-z0-9 _.:\\/@+,=~#-]*$/;

/** Every character that PowerShell takes for a single quote. */
const powershellQuote = /['\u2018\u2019\u201a\u201b]/g;

export const isPowershell = (shell: ShellName): boolean => shell === 'pwsh' || shell === 'powershell';

/** What is no text in PowerShell. */
const typedTypes: ReadonlySet<ParameterType> = new Set(['integer', 'number', 'boolean']);

/** A literal of the shell that stands for exactly this value. Not for cmd, which has none. */
export function literalFor(
  shell: Exclude<ShellName, 'cmd'>,
  { type, value }: Pick<ParameterSetting, 'type' | 'value'>,
): string {
  if (isPowershell(shell)) {
    if (value === null) return typedTypes.has(type) ? '$null' : "''";
    if (typeof value === 'boolean') return value ? '$true' : '$false';
    if (typeof value === 'number') return decimalText(value);
    return `'${value.replace(powershellQuote, '$&$&')}'`;
  }
  return `'${textOf(value).replaceAll("'", `'\\''`)}'`;
}

/** The name of the first value that the shell cannot be given safely; undefined: all can. */
export function findUnsafe(shell: ShellName, settings: readonly ParameterSetting[]): string | undefined {
  if (shell !== 'cmd') return undefined;
  return settings.find(({ value }) => !harmlessInCmd.test(textOf(value)))?.name;
}

/** The text that runs. The values must have passed `findUnsafe`. */
export function renderScript(
  shell: ShellName,
  script: string,
  settings: readonly ParameterSetting[],
): string {
  if (settings.length === 0) return script;
  if (shell === 'cmd') return renderCmd(script, settings);
  const sign = isPowershell(shell) ? '$' : '';
  const equals = isPowershell(shell) ? ' = ' : '=';
  const lines = settings.map((setting) => `${sign}${setting.name}${equals}${literalFor(shell, setting)}`);
  return [...lines, script].join('\n');
}

/** Names of variables are without case in cmd. */
function renderCmd(script: string, settings: readonly ParameterSetting[]): string {
  const texts = new Map(settings.map(({ name, value }) => [name.toLowerCase(), textOf(value)]));
  // One pass: what a value brings is not looked at again.
  return script.replace(/%(\w+)%/g, (found, name: string) => texts.get(name.toLowerCase()) ?? found);
}

const textOf = (value: ParameterSetting['value']): string =>
  value === null ? '' : typeof value === 'number' ? decimalText(value) : String(value);

/** Numbers with an exponent are refused before (`parameters.ts`); minus zero is zero. */
const decimalText = (value: number): string => String(value === 0 ? 0 : value);
