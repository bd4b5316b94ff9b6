/**
 * What this agent can do here: found out once at the start and named in the hello.
 */
import { execFile } from 'node:child_process';
import { cliPrograms } from '../contracts/agent-protocol.ts';
import { findProgram } from './shells.ts';

/** `sudo -n true` must answer within this time, milliseconds. */
const SUDO_DEADLINE_MS = 5_000;

const canSudo = (): Promise<boolean> =>
  new Promise((resolve) => {
    execFile('sudo', ['-n', 'true'], { timeout: SUDO_DEADLINE_MS }, (error) => resolve(error === null));
  });

/** Capabilities of the real executor on this machine. `elevate` is probed: root has it, others need `sudo -n`. */
export async function findCapabilities(facts: {
  hasShell: boolean;
  hasCgroups: boolean;
  /** Where programs of commands are looked for. */
  searchPath: string;
}): Promise<Set<string>> {
  const capabilities = new Set(['argv', 'metrics']);
  if (facts.hasShell) capabilities.add('shell');
  if (facts.hasCgroups) capabilities.add('cgroup');
  for (const [name, program] of Object.entries(cliPrograms)) {
    if (findProgram(program, facts.searchPath) !== null) capabilities.add(`cli:${name}`);
  }
  if (process.platform === 'win32') return capabilities;
  const isRoot = process.getuid?.() === 0;
  if (isRoot) capabilities.add('run-as');
  if (isRoot || (await canSudo())) capabilities.add('elevate');
  return capabilities;
}
