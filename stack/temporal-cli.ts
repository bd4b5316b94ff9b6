/**
 * Finds the `temporal` program that starts the dev server, in this order: TEMPORAL_CLI_PATH, PATH, the project's cache,
 * a download, a build with Go. What was got once stays in the cache.
 *
 * A. Downloads and builds happen in one process at a time (lock), beside the cache, and appear there by a rename.
 * B. `signal` ends whatever is under way, and nothing else is tried.
 */
import { chmodSync, existsSync, mkdirSync, renameSync, rmSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { download } from './download.ts';
import { buildWithGo, elapsed } from './go-build.ts';
import { LockHeldError, takeLock, waitForLock } from './lock.ts';
import type { StackLog } from './log-port.ts';
import { runCommand } from './processes.ts';
import { findWorkFolders, nameWorkFolder, removeInBackground } from './work-folders.ts';

/** The last version that `go install` can build: later ones have a `replace` directive. Server 1.29.1. */
export const TEMPORAL_CLI_VERSION = '1.5.1';
/** What a build of that version compiles, with Go 1.26. */
const PACKAGE_COUNT = 1_300;

const MIN_GO_MINOR = 24;
const VERSION_TIMEOUT_MS = 10_000;
const UNPACK_TIMEOUT_MS = 60_000;
/** As long as another process may take to get the program. */
const LOCK_TIMEOUT_MS = 30 * 60_000;

export interface TemporalCli {
  path: string;
  /** What `temporal --version` says. */
  version: string;
  /** Where it comes from, for people. */
  source: string;
}

export interface TemporalCliSearch {
  log: StackLog;
  /** Value of TEMPORAL_CLI_PATH; when set, nothing else is tried. */
  cliPath?: string | null;
  cacheDir: string;
  env: Record<string, string>;
  /** Where releases are downloaded from; default Temporal's own host. */
  downloadBase?: string;
  signal?: AbortSignal;
}

/** @throws with everything that was tried and how to fix each; the reason of `signal` */
export async function findTemporalCli(search: TemporalCliSearch): Promise<TemporalCli> {
  const { log, cliPath, cacheDir, env, signal } = search;
  const tried: string[] = [];
  if (cliPath != null) {
    const found = await tryProgram(cliPath, 'TEMPORAL_CLI_PATH', search, tried);
    if (found !== null) return found;
    throw new Error(
      `TEMPORAL_CLI_PATH does not name a program that works.\n  - ${tried.join('\n  - ')}\nFix it or remove it.`,
    );
  }
  const cached = join(cacheDir, `temporal-cli-${TEMPORAL_CLI_VERSION}`, programName('temporal'));
  const onPath = findOnPath('temporal', env);
  if (onPath === null) tried.push('PATH: there is no temporal program on it');
  const found =
    (onPath === null ? null : await tryProgram(onPath, 'PATH', search, tried)) ??
    (await tryCache(cached, search, tried));
  const lockFile = join(cacheDir, 'temporal-cli.lock');
  if (found !== null) {
    removeLeftovers(search, lockFile);
    return found;
  }

  mkdirSync(cacheDir, { recursive: true });
  const lock = await waitForLock(lockFile, {
    timeoutMs: LOCK_TIMEOUT_MS,
    signal,
    onWait: (pid) =>
      log.info(
        { event: 'temporal_cli_waiting', pid },
        `Temporal: process ${pid} is getting the program; waiting`,
      ),
  });
  try {
    const other = await tryCache(cached, search, []);
    if (other !== null) return other;
    const work = nameWorkFolder(cacheDir);
    return (
      (await tryDownload(search, cached, work, tried)) ??
      (await tryBuild(search, cached, work, tried)) ??
      fail(tried)
    );
  } finally {
    tidyUp(search);
    lock.release();
  }
}

/** With the lock held: every work folder is one that nobody uses. */
function tidyUp({ log, cacheDir, env }: TemporalCliSearch): void {
  const folders = findWorkFolders(cacheDir);
  if (folders.length === 0) return;
  log.info(
    { event: 'temporal_cli_tidying', folders },
    'Temporal: tidying up the folder of the build (up to 3 GB), in the background',
  );
  for (const folder of folders) removeInBackground(folder, env);
}

/** What a start left that did not come to its end. Whoever has the lock does it as well. */
function removeLeftovers(search: TemporalCliSearch, lockFile: string): void {
  if (findWorkFolders(search.cacheDir).length === 0) return;
  try {
    const lock = takeLock(lockFile);
    tidyUp(search);
    lock.release();
  } catch (error) {
    if (!(error instanceof LockHeldError)) throw error;
  }
}

function fail(tried: string[]): never {
  throw new Error(
    [
      'No Temporal server could be found or made. Tried:',
      ...tried.map((line) => `  - ${line}`),
      'Fix one of:',
      '  - set TEMPORAL_ADDRESS to a Temporal server that is running',
      '  - install the temporal program (https://docs.temporal.io/cli) on PATH, or set TEMPORAL_CLI_PATH to it',
      '  - let this machine reach https://temporal.download',
      `  - install Go 1.${MIN_GO_MINOR} or newer and let it reach its module proxy (GOPROXY), so that it can be built`,
    ].join('\n'),
  );
}

async function tryProgram(
  path: string,
  source: string,
  { env, signal }: TemporalCliSearch,
  tried: string[],
): Promise<TemporalCli | null> {
  try {
    const { code, stdout, stderr } = await runCommand(path, ['--version'], {
      env,
      timeoutMs: VERSION_TIMEOUT_MS,
      signal,
    });
    const version = /^temporal version .+/m.exec(stdout)?.[0];
    if (code === 0 && version !== undefined) return { path, version, source };
    tried.push(
      `${source}: ${path} --version ended with code ${code}: ${(stderr || stdout).trim().slice(0, 200)}`,
    );
  } catch (error) {
    signal?.throwIfAborted(); // B
    tried.push(`${source}: ${path} cannot be run: ${messageOf(error)}`);
  }
  return null;
}

async function tryCache(
  cached: string,
  search: TemporalCliSearch,
  tried: string[],
): Promise<TemporalCli | null> {
  if (existsSync(cached)) return tryProgram(cached, 'cache', search, tried);
  tried.push(`cache: ${cached} is not there`);
  return null;
}

async function tryDownload(
  search: TemporalCliSearch,
  cached: string,
  work: string,
  tried: string[],
): Promise<TemporalCli | null> {
  const { log, env, signal, downloadBase = 'https://temporal.download' } = search;
  const url = `${downloadBase}/cli/archive/v${TEMPORAL_CLI_VERSION}?platform=${platformName()}&arch=${archName()}`;
  const startedAt = Date.now();
  const archive = join(work, 'temporal-archive');
  log.info({ event: 'temporal_cli_downloading', url }, `Temporal: downloading ${url}`);
  try {
    mkdirSync(work, { recursive: true });
    await download(url, archive, signal, (bytes) => {
      const megabytes = Math.round(bytes / 1e6);
      log.info({ event: 'temporal_cli_downloading' }, `Temporal: ${megabytes} MB, ${elapsed(startedAt)}`);
    });
    // tar tells gzip by itself; the tar of Windows reads zip as well.
    const { code, stderr } = await runCommand('tar', ['-xf', archive, '-C', work], {
      env,
      timeoutMs: UNPACK_TIMEOUT_MS,
      signal,
    });
    if (code !== 0) throw new Error(`unpacking failed: ${stderr.trim()}`);
    return await install(join(work, programName('temporal')), cached, 'download', search, tried);
  } catch (error) {
    signal?.throwIfAborted(); // B
    tried.push(`download: ${url}: ${messageOf(error)} (after ${elapsed(startedAt)})`);
    log.warn({ event: 'temporal_cli_download_failed' }, `Temporal: download failed: ${messageOf(error)}`);
    return null;
  } finally {
    rmSync(work, { recursive: true, force: true }); // A few files; a build makes its own.
  }
}

async function tryBuild(
  search: TemporalCliSearch,
  cached: string,
  work: string,
  tried: string[],
): Promise<TemporalCli | null> {
  const { log, env, signal } = search;
  const go = await checkGo(search, tried);
  if (go === null) return null;
  const target = `github.com/temporalio/cli/cmd/temporal@v${TEMPORAL_CLI_VERSION}`;
  const startedAt = Date.now();
  log.info(
    { event: 'temporal_cli_building' },
    `Temporal: building with ${go}: go install ${target} (3 minutes or more, once)`,
  );
  try {
    mkdirSync(work, { recursive: true });
    await buildWithGo({ log, target, work, env, packageCount: PACKAGE_COUNT, signal });
    log.info({ event: 'temporal_cli_built' }, `Temporal: built in ${elapsed(startedAt)}`);
    return await install(join(work, 'bin', programName('temporal')), cached, 'built with Go', search, tried);
  } catch (error) {
    signal?.throwIfAborted(); // B
    tried.push(`build: ${messageOf(error)} (after ${elapsed(startedAt)})`);
    return null;
  }
}

/** What `go version` says, if it is new enough (older ones may fetch a newer toolchain themselves, or not). */
async function checkGo({ env, signal }: TemporalCliSearch, tried: string[]): Promise<string | null> {
  if (findOnPath('go', env) === null) {
    tried.push('build: there is no Go on PATH');
    return null;
  }
  const { stdout } = await runCommand('go', ['version'], { env, timeoutMs: VERSION_TIMEOUT_MS, signal });
  const version = /go1\.(\d+)(\.\d+)?/.exec(stdout);
  if (version !== null && Number(version[1]) >= MIN_GO_MINOR) return version[0];
  tried.push(`build: Go 1.${MIN_GO_MINOR} or newer is needed, found: ${stdout.trim()}`);
  return null;
}

/** Moves the program into the cache (A) once it is known to work. */
async function install(
  program: string,
  cached: string,
  source: string,
  search: TemporalCliSearch,
  tried: string[],
): Promise<TemporalCli | null> {
  chmodSync(program, 0o755);
  const found = await tryProgram(program, source, search, tried);
  if (found === null) return null;
  mkdirSync(dirname(cached), { recursive: true });
  renameSync(program, cached);
  return { ...found, path: cached };
}

function findOnPath(name: string, env: Record<string, string>): string | null {
  const folders = (env.PATH ?? '').split(delimiter).filter((folder) => folder !== '');
  return folders.map((folder) => join(folder, programName(name))).find((path) => existsSync(path)) ?? null;
}

function programName(name: string): string {
  return process.platform === 'win32' ? `${name}.exe` : name;
}

function platformName(): string {
  return process.platform === 'win32' ? 'windows' : process.platform;
}

function archName(): string {
  return process.arch === 'x64' ? 'amd64' : process.arch;
}

/** With the cause: fetch says only "fetch failed". */
function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause instanceof Error ? `${error.message}: ${error.cause.message}` : error.message;
}
