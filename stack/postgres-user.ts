/**
 * PostgreSQL refuses to run as root. When we are root (containers, build machines), the server runs as another user,
 * who must be able to reach its data and its programs although our own folders may be closed to others.
 */
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { copyName, installationFolder, type PostgresBinaries } from './postgres-binaries.ts';
import { PASSED_FOLDER_FD, runCommand } from './processes.ts';

export interface ServerUser {
  uid: number;
  gid: number;
}

/** Where programs are copied to when the server's user cannot reach them. Only root ever needs it. */
const SHARED_CACHE = '/var/cache/steelthread';
const COPY_TIMEOUT_MS = 60_000;
const CANDIDATES = ['postgres', 'nobody'];

/** The user to run the server as: undefined when we are not root. @throws when root finds no other user */
export function findServerUser(dataDir: string): ServerUser | undefined {
  if (process.getuid?.() !== 0) return undefined;
  const owner = statSync(dataDir, { throwIfNoEntry: false });
  if (owner !== undefined && owner.uid !== 0) return { uid: owner.uid, gid: owner.gid };
  const accounts = readFileSync('/etc/passwd', 'utf8')
    .split('\n')
    .map((line) => line.split(':'));
  for (const name of CANDIDATES) {
    const account = accounts.find((fields) => fields[0] === name);
    if (account !== undefined) return { uid: Number(account[2]), gid: Number(account[3]) };
  }
  throw new Error(
    `PostgreSQL refuses to run as root, and there is no user ${CANDIDATES.join(' or ')} on this machine. ` +
      'Run Steelthread as another user, or set DATABASE_URL.',
  );
}

/** Makes a folder that belongs to the server's user. */
export function makeServerFolder(folder: string, user: ServerUser | undefined): void {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  if (user === undefined) return;
  chownSync(folder, user.uid, user.gid);
  chmodSync(folder, 0o700);
}

/**
 * How to name the data folder to the server. A folder below one that is closed to the server's user (such as root's
 * home) is opened by us and handed over as a descriptor. (As the working directory it would not do: PostgreSQL 15
 * leaves it at start and cannot return.)
 */
export function nameDataFolder(
  dataDir: string,
  user: ServerUser | undefined,
): { argument: string; passFolder?: string } {
  if (user === undefined || canReach(dirname(dataDir), user)) return { argument: dataDir };
  if (process.platform === 'linux')
    return { argument: `/proc/self/fd/${PASSED_FOLDER_FD}`, passFolder: dataDir };
  throw new Error(
    `The user that PostgreSQL runs as cannot reach ${dataDir}. Set STEELTHREAD_HOME to another folder.`,
  );
}

/** Programs that the server's user can reach: the same, or a copy of them. */
export async function reachableBinaries(
  binaries: PostgresBinaries,
  user: ServerUser | undefined,
  env: Record<string, string>,
): Promise<PostgresBinaries> {
  if (user === undefined || canReach(dirname(binaries.postgres), user)) return binaries;
  const copy = join(SHARED_CACHE, copyName(binaries));
  if (!existsSync(copy)) await copyInstallation(installationFolder(binaries), copy, env);
  return { ...binaries, postgres: join(copy, 'bin', 'postgres'), initdb: join(copy, 'bin', 'initdb') };
}

async function copyInstallation(from: string, to: string, env: Record<string, string>): Promise<void> {
  const aside = `${to}.${process.pid}`;
  mkdirSync(dirname(to), { recursive: true, mode: 0o755 });
  try {
    for (const [command, args] of [
      ['cp', ['-R', from, aside]],
      ['chmod', ['-R', 'a+rX', aside]],
    ] as const) {
      const { code, stderr } = await runCommand(command, args, { env, timeoutMs: COPY_TIMEOUT_MS });
      if (code !== 0) throw new Error(`Copying ${from} to ${to} failed: ${stderr.trim()}`);
    }
    if (!existsSync(to)) renameSync(aside, to);
  } finally {
    rmSync(aside, { recursive: true, force: true });
  }
}

/** True when every folder on the way may be entered by the user. */
function canReach(folder: string, user: ServerUser): boolean {
  for (let place = realpathSync(folder); ; place = dirname(place)) {
    const { mode, uid, gid } = statSync(place);
    const bit = uid === user.uid ? 0o100 : gid === user.gid ? 0o010 : 0o001;
    if ((mode & bit) === 0) return false;
    if (place === dirname(place)) return true;
  }
}
