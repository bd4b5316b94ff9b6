/**
 * The environment and the user a command runs with.
 */
import { readFileSync } from 'node:fs';
import { tmpdir, userInfo } from 'node:os';
import type { Act } from '../contracts/agent-protocol.ts';
import { COMMAND_ID_VARIABLE } from './kill.ts';

/** Where programs are looked for when the agent's environment does not say. */
export const DEFAULT_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
/** Variables a command inherits from the agent; everything else (its token!) stays out. */
const inheritedNames =
  process.platform === 'win32'
    ? [
        'PATH',
        'PATHEXT',
        'SystemRoot',
        'SystemDrive',
        'ComSpec',
        'TEMP',
        'TMP',
        'USERPROFILE',
        'USERNAME',
        'TZ',
      ]
    : ['PATH', 'LANG', 'TZ', 'TMPDIR'];

export interface SystemUser {
  name: string;
  uid: number;
  gid: number;
  home: string;
  shell: string;
}

/** A user of /etc/passwd by name (or decimal uid), or null. Directory services are not asked. */
export function findUser(name: string): SystemUser | null {
  try {
    for (const line of readFileSync('/etc/passwd', 'utf8').split('\n')) {
      const [login, , uid, gid, , home, shell] = line.split(':');
      if (login === undefined || uid === undefined || gid === undefined) continue;
      if (login !== name && uid !== name) continue;
      return {
        name: login,
        uid: Number(uid),
        gid: Number(gid),
        home: home || '/',
        shell: shell || '/bin/sh',
      };
    }
  } catch {
    // No such file on this system.
  }
  return null;
}

/** The clean environment of a command: a few names from the agent, the act's own, and the mark of the kill rule. */
export function commandEnvironment(
  commandId: string,
  act: Pick<Act, 'environment'>,
  user: SystemUser | null,
  own: Readonly<Record<string, string | undefined>>,
): Record<string, string> {
  const environment: Record<string, string> = {};
  for (const name of inheritedNames) {
    const value = own[name];
    if (value !== undefined) environment[name] = value;
  }
  if (process.platform !== 'win32') {
    const login = userInfo();
    environment.PATH ??= DEFAULT_PATH;
    environment.LANG ??= 'C.UTF-8';
    environment.TMPDIR ??= tmpdir();
    environment.HOME = user?.home ?? own.HOME ?? login.homedir;
    environment.USER = user?.name ?? login.username;
    environment.LOGNAME = environment.USER;
    environment.SHELL = user?.shell ?? login.shell ?? '/bin/sh';
  }
  return { ...environment, ...act.environment, [COMMAND_ID_VARIABLE]: commandId };
}
