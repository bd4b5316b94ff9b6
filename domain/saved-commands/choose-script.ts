import type { ShellName } from '../../contracts/act.ts';
import type { SavedScripts } from '../../contracts/saved-commands.ts';
import { type BatchAgent, powershells, shellsOf } from '../commands/agents.ts';

export interface ShellWish {
  /** Only this one. */
  shell?: ShellName | undefined;
  /** Where the agent has PowerShell it goes before the agent's default shell. */
  preferPowershell?: boolean | undefined;
}

type ShellFacts = Pick<BatchAgent, 'os' | 'shells' | 'defaultShell'>;

/** The shell and the script for an agent; undefined when none of the scripts runs in a shell it has (see `shellsOf`). */
export function chooseScript(
  scripts: SavedScripts,
  agent: ShellFacts,
  wish: ShellWish = {},
): { shell: ShellName; script: string } | undefined {
  const shells = candidates(agent, wish);
  for (const shell of shells) {
    const script = scripts[shell] ?? relatedScript(scripts, shell);
    if (script !== undefined) return { shell, script };
  }
  const [first] = shells;
  return first === undefined || scripts.any === undefined ? undefined : { shell: first, script: scripts.any };
}

function candidates(agent: ShellFacts, { shell, preferPowershell }: ShellWish): ShellName[] {
  const shells = shellsOf(agent, preferPowershell ? powershells : []);
  return shell === undefined ? shells : shells.filter((one) => one === shell);
}

/** What is written for the smaller shell runs in the larger one. */
function relatedScript(scripts: SavedScripts, shell: ShellName): string | undefined {
  if (shell === 'bash') return scripts.sh;
  return shell === 'pwsh' ? scripts.powershell : undefined;
}
