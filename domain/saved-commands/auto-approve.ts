/**
 * What a task in mode `auto` may run undecided besides its literal commands: instances of saved commands that are marked
 * `autoApprove`.
 *
 *  A. An instance is exactly the text that rendering gives for values that the declarations take: what is not
 *     reproduced byte for byte is none.
 *  B. None of the declarations is a free `string` (`contentIssues`).
 */
import type { ShellName } from '../../contracts/act.ts';
import type { ParameterValue, SavedParameter } from '../../contracts/saved-commands.ts';
import type { Queryable } from '../../db/database.ts';
import { listAutoApproved, type SavedCommandRow } from '../../db/saved-commands.ts';
import { settingsOf } from './parameters.ts';
import { findUnsafe, isPowershell, renderScript } from './render.ts';

export interface AutoApproval {
  savedCommandId: string;
  revision: number;
  name: string;
}

/** The saved command of which this script is an instance; undefined: a person decides. */
export async function findAutoApproval(
  db: Queryable,
  act: { shell: ShellName; script: string },
): Promise<AutoApproval | undefined> {
  const saved = (await listAutoApproved(db)).find((row) => isInstance(row, act));
  return saved && { savedCommandId: saved.id, revision: saved.revision, name: saved.name };
}

/** Is the script what the saved command gives in this shell for some permitted values? */
export function isInstance(
  saved: Pick<SavedCommandRow, 'scripts' | 'parameters'>,
  { shell, script }: { shell: ShellName; script: string },
): boolean {
  // Only what is written for this shell: `any` says nothing of what its text does there.
  const related =
    shell === 'bash' ? saved.scripts.sh : shell === 'pwsh' ? saved.scripts.powershell : undefined;
  const template = saved.scripts[shell] ?? related;
  if (template === undefined) return false;
  if (saved.parameters.some(({ type }) => type === 'string')) return false;
  if (saved.parameters.length === 0) return script === template;
  if (shell === 'cmd' || !script.endsWith(`\n${template}`)) return false;
  const head = script.slice(0, script.length - template.length);
  const given = readAssignments(shell, head, saved.parameters);
  if (given === undefined) return false;
  const checked = settingsOf(saved, given);
  if ('issues' in checked || findUnsafe(shell, checked.settings) !== undefined) return false;
  return renderScript(shell, template, checked.settings) === script;
}

/** What one assignment may look like; whether it is the right one is seen by rendering it again (A). */
const posixLine = /^(\w+)='((?:[^'\n]|'\\'')*)'\n/;
const powershellLine = /^\$(\w+) = (?:'((?:[^'\n]|'')*)'|(\S+))\n/;

function readAssignments(
  shell: ShellName,
  head: string,
  parameters: readonly SavedParameter[],
): Record<string, ParameterValue | null> | undefined {
  const given: Record<string, ParameterValue | null> = {};
  let rest = head;
  for (const { name } of parameters) {
    const match = (isPowershell(shell) ? powershellLine : posixLine).exec(rest);
    if (match === null || match[1] !== name) return undefined;
    const [line, , quoted, bare] = match;
    given[name] = quoted === undefined ? bareValue(bare ?? '') : quotedValue(shell, quoted);
    rest = rest.slice(line.length);
  }
  return rest === '' ? given : undefined;
}

const bareValue = (text: string): string | null => (text === '$null' ? null : text.replace(/^\$/, ''));

/** Nothing is how a value that was not given is written. */
function quotedValue(shell: ShellName, text: string): string | null {
  if (text === '') return null;
  return isPowershell(shell) ? text.replaceAll("''", "'") : text.replaceAll("'\\''", "'");
}
