/**
 * Shells and programs found on this machine.
 */
import { accessSync, constants, statSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import type { Act, ShellName } from '../contracts/agent-protocol.ts';

const onWindows = process.platform === 'win32';
/** Best first. */
const shellOrder: readonly ShellName[] = onWindows
  ? ['pwsh', 'powershell', 'cmd', 'bash', 'sh']
  : ['bash', 'sh', 'pwsh'];

/** Full path of a program on this search path, or null. */
export function findProgram(name: string, searchPath: string): string | null {
  const suffixes = onWindows ? ['.exe', '.cmd', ''] : [''];
  for (const directory of searchPath.split(delimiter)) {
    if (directory === '') continue;
    for (const suffix of suffixes) {
      const path = join(directory, name + suffix);
      try {
        accessSync(path, constants.X_OK);
        if (statSync(path).isFile()) return path;
      } catch {
        // Not here.
      }
    }
  }
  return null;
}

/** Shells of this machine with their paths, best first. */
export function findShells(searchPath: string): Map<ShellName, string> {
  const shells = new Map<ShellName, string>();
  for (const name of shellOrder) {
    const path = findProgram(name, searchPath);
    if (path !== null) shells.set(name, path);
  }
  return shells;
}

const shellArguments: Readonly<Record<ShellName, readonly string[]>> = {
  sh: ['-c'],
  bash: ['-c'],
  pwsh: ['-NoProfile', '-NonInteractive', '-Command'],
  powershell: ['-NoProfile', '-NonInteractive', '-Command'],
  cmd: ['/d', '/s', '/c'],
};

export interface Invocation {
  file: string;
  args: string[];
  /** cmd.exe parses its own command line: no quoting by Node. */
  windowsVerbatimArguments: boolean;
}

/** Program and arguments of an act, or null when its shell is not on this machine. */
export function invocationOf(act: Act, shells: ReadonlyMap<ShellName, string>): Invocation | null {
  if (act.mode === 'argv') {
    const [file = '', ...args] = act.argv;
    return { file, args, windowsVerbatimArguments: false };
  }
  const path = shells.get(act.shell);
  if (path === undefined) return null;
  const isCmd = act.shell === 'cmd';
  const script = isCmd ? `"${act.script}"` : act.script;
  return { file: path, args: [...shellArguments[act.shell], script], windowsVerbatimArguments: isCmd };
}

/** The same invocation behind a shell that first writes itself into a cgroup's `cgroup.procs`, then becomes it. */
export const enteringCgroup = (invocation: Invocation, shell: string, procsFile: string): Invocation => ({
  ...invocation,
  file: shell,
  args: ['-c', '{ echo 0 > "$0"; } 2> /dev/null; exec "$@"', procsFile, invocation.file, ...invocation.args],
});
