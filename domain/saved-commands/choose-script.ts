import type { ShellName } from '../../contracts/act.ts';
import type { SavedScripts } from '../../contracts/saved-commands.ts';
import { type BatchAgent, isShellName } from '../commands/agents.ts';

export interface ShellWish {
  /** Only this one. */
  shell?: ShellName | undefined;
  /** Where the agent has PowerShell it goes before the agent's default shell. */
  preferPowershell?: boolean | undefined;
}

type ShellFacts = Pick<BatchAgent, 'os' | 'shells' | 'defaultShell'>;

/**
 * The shell and the script for an agent; undefined when none of the scripts runs in a shell it has. An agent that never
 * connected has told of no shell: `powershell` where it calls itself Windows, else `sh`.
 */
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

function candidates(agent: ShellFacts, wish: ShellWish): ShellName[] {
  const known = agent.shells.filter(isShellName);
  const usual = isShellName(agent.defaultShell)
    ? agent.defaultShell
    : (known[0] ?? (isWindows(agent) ? 'powershell' : 'sh'));
  const all = new Set<ShellName>([usual, ...known]);
  if (wish.shell !== undefined) return all.has(wish.shell) ? [wish.shell] : [];
  const first = wish.preferPowershell
    ? (['pwsh', 'powershell'] as const).filter((shell) => all.has(shell))
    : [];
  return [...new Set([...first, ...all])];
}

/** What is written for the smaller shell runs in the larger one. */
function relatedScript(scripts: SavedScripts, shell: ShellName): string | undefined {
  if (shell === 'bash') return scripts.sh;
  return shell === 'pwsh' ? scripts.powershell : undefined;
}

const isWindows = ({ os }: ShellFacts): boolean => /^\s*win/i.test(os ?? '');
