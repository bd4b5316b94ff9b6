/**
 * Finds the `temporal` program that starts the dev server, in this order: TEMPORAL_CLI_PATH, PATH, the project's cache,
 * a download, a build with Go. What was got once stays in the cache.
 *
 * A. Downloads and builds happen in one process at a time (lock), beside the cache, and appear there by a rename.
 */
import { chmodSync, createWriteStream, existsSync, mkdirSync, renameSync, rmSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { waitForLock } from './lock.ts';
import type { StackLog } from './log-port.ts';
import { runCommand, startProcess } from './processes.ts';

/** The last version that `go install` can build: later ones have a `replace` directive. Server 1.29.1. */
export const TEMPORAL_CLI_VERSION = '1.5.1';

const MIN_GO_MINOR = 24;
const VERSION_TIMEOUT_MS = 10_000;
const DOWNLOAD_ANSWER_TIMEOUT_MS = 8_000;
const DOWNLOAD_TIMEOUT_MS = 5 * 60_000;
const BUILD_TIMEOUT_MS = 30 * 60_000;
const PROGRESS_INTERVAL_MS = 5_000;

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
}

/** @throws with everything that was tried and how to fix each */
export async function findTemporalCli(search: TemporalCliSearch): Promise<TemporalCli> {
  const { log, cliPath, cacheDir, env } = search;
  const tried: string[] = [];
  if (cliPath != null) {
    const found = await tryProgram(cliPath, 'TEMPORAL_CLI_PATH', env, tried);
    if (found !== null) return found;
    throw new Error(
      `TEMPORAL_CLI_PATH does not name a program that works.\n  - ${tried.join('\n  - ')}\nFix it or remove it.`,
    );
  }
  const cached = join(cacheDir, `temporal-cli-${TEMPORAL_CLI_VERSION}`, programName('temporal'));
  const onPath = findOnPath('temporal', env);
  if (onPath === null) tried.push('PATH: there is no temporal program on it');
  const found =
    (onPath === null ? null : await tryProgram(onPath, 'PATH', env, tried)) ??
    (await tryCache(cached, env, tried));
  if (found !== null) return found;

  mkdirSync(cacheDir, { recursive: true });
  const lock = await waitForLock(join(cacheDir, 'temporal-cli.lock'), {
    timeoutMs: BUILD_TIMEOUT_MS,
    onWait: (pid) =>
      log.info(
        { event: 'temporal_cli_waiting', pid },
        `Temporal: process ${pid} is getting the program; waiting`,
      ),
  });
  try {
    const other = await tryCache(cached, env, []);
    if (other !== null) return other;
    const work = join(cacheDir, `temporal-cli-work-${process.pid}`);
    try {
      return (
        (await tryDownload(search, cached, work, tried)) ??
        (await tryBuild(search, cached, work, tried)) ??
        fail(tried)
      );
    } finally {
      rmSync(work, { recursive: true, force: true });
    }
  } finally {
    lock.release();
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
  env: Record<string, string>,
  tried: string[],
): Promise<TemporalCli | null> {
  try {
    const { code, stdout, stderr } = await runCommand(path, ['--version'], {
      env,
      timeoutMs: VERSION_TIMEOUT_MS,
    });
    const version = /^temporal version .+/m.exec(stdout)?.[0];
    if (code === 0 && version !== undefined) return { path, version, source };
    tried.push(
      `${source}: ${path} --version ended with code ${code}: ${(stderr || stdout).trim().slice(0, 200)}`,
    );
  } catch (error) {
    tried.push(`${source}: ${path} cannot be run: ${messageOf(error)}`);
  }
  return null;
}

async function tryCache(
  cached: string,
  env: Record<string, string>,
  tried: string[],
): Promise<TemporalCli | null> {
  if (existsSync(cached)) return tryProgram(cached, 'cache', env, tried);
  tried.push(`cache: ${cached} is not there`);
  return null;
}

async function tryDownload(
  search: TemporalCliSearch,
  cached: string,
  work: string,
  tried: string[],
): Promise<TemporalCli | null> {
  const { log, env, downloadBase = 'https://temporal.download' } = search;
  const url = `${downloadBase}/cli/archive/v${TEMPORAL_CLI_VERSION}?platform=${platformName()}&arch=${archName()}`;
  const startedAt = Date.now();
  const archive = join(work, 'temporal-archive');
  log.info({ event: 'temporal_cli_downloading', url }, `Temporal: downloading ${url}`);
  try {
    mkdirSync(work, { recursive: true });
    await download(url, archive, (bytes) => {
      const megabytes = Math.round(bytes / 1e6);
      log.info({ event: 'temporal_cli_downloading' }, `Temporal: ${megabytes} MB, ${elapsed(startedAt)}`);
    });
    // tar tells gzip by itself; the tar of Windows reads zip as well.
    const { code, stderr } = await runCommand('tar', ['-xf', archive, '-C', work], {
      env,
      timeoutMs: 60_000,
    });
    if (code !== 0) throw new Error(`unpacking failed: ${stderr.trim()}`);
    return await install(join(work, programName('temporal')), cached, 'download', env, tried);
  } catch (error) {
    tried.push(`download: ${url}: ${messageOf(error)} (after ${elapsed(startedAt)})`);
    log.warn({ event: 'temporal_cli_download_failed' }, `Temporal: download failed: ${messageOf(error)}`);
    return null;
  }
}

async function download(url: string, file: string, onProgress: (bytes: number) => void): Promise<void> {
  const abort = new AbortController();
  const noAnswer = setTimeout(() => abort.abort(new Error('no answer in time')), DOWNLOAD_ANSWER_TIMEOUT_MS);
  const tooLong = setTimeout(() => abort.abort(new Error('took too long')), DOWNLOAD_TIMEOUT_MS);
  let bytes = 0;
  const progress = setInterval(() => onProgress(bytes), PROGRESS_INTERVAL_MS);
  try {
    const response = await fetch(url, { signal: abort.signal });
    clearTimeout(noAnswer);
    if (!response.ok || response.body === null) throw new Error(`HTTP ${response.status}`);
    const count = async function* (chunks: AsyncIterable<Uint8Array>) {
      for await (const chunk of chunks) {
        bytes += chunk.length;
        yield chunk;
      }
    };
    await pipeline(Readable.from(count(response.body)), createWriteStream(file), { signal: abort.signal });
  } catch (error) {
    throw abort.signal.aborted ? abort.signal.reason : error;
  } finally {
    clearTimeout(noAnswer);
    clearTimeout(tooLong);
    clearInterval(progress);
  }
}

async function tryBuild(
  search: TemporalCliSearch,
  cached: string,
  work: string,
  tried: string[],
): Promise<TemporalCli | null> {
  const { log, env } = search;
  const go = await checkGo(env, tried);
  if (go === null) return null;
  const target = `github.com/temporalio/cli/cmd/temporal@v${TEMPORAL_CLI_VERSION}`;
  const startedAt = Date.now();
  log.info(
    { event: 'temporal_cli_building' },
    `Temporal: building with ${go}: go install ${target} (3 minutes or more, once)`,
  );
  let news = '';
  const progress = setInterval(() => {
    const message = `Temporal: still building, ${elapsed(startedAt)}: ${news || 'compiling'}`;
    log.info({ event: 'temporal_cli_building' }, message);
    news = '';
  }, PROGRESS_INTERVAL_MS);
  try {
    mkdirSync(work, { recursive: true });
    const build = await startProcess({
      name: 'go install',
      command: 'go',
      args: ['install', '-ldflags=-s -w', target],
      env: {
        ...env,
        // Its own module and build caches (3 GB), deleted after, with files that may be deleted.
        GOPATH: join(work, 'gopath'),
        GOCACHE: join(work, 'gocache'),
        GOTMPDIR: work,
        GOBIN: join(work, 'bin'),
        GOFLAGS: `${env.GOFLAGS ?? ''} -modcacherw`.trim(),
        CGO_ENABLED: '0',
      },
      cwd: work,
      temporaryFolder: work,
      output: {
        onLine: (line) => {
          news = line.slice(0, 100);
        },
      },
    });
    const deadline = setTimeout(() => void build.stop(), BUILD_TIMEOUT_MS);
    const end = await build.done;
    clearTimeout(deadline);
    if (end.code !== 0)
      throw new Error(`go install ended with ${end.code ?? end.signal}: ${build.tail().slice(-600)}`);
    log.info({ event: 'temporal_cli_built' }, `Temporal: built in ${elapsed(startedAt)}`);
    return await install(join(work, 'bin', programName('temporal')), cached, 'built with Go', env, tried);
  } catch (error) {
    tried.push(`build: ${messageOf(error)} (after ${elapsed(startedAt)})`);
    return null;
  } finally {
    clearInterval(progress);
  }
}

/** What `go version` says, if it is new enough (older ones may fetch a newer toolchain themselves, or not). */
async function checkGo(env: Record<string, string>, tried: string[]): Promise<string | null> {
  if (findOnPath('go', env) === null) {
    tried.push('build: there is no Go on PATH');
    return null;
  }
  const { stdout } = await runCommand('go', ['version'], { env, timeoutMs: VERSION_TIMEOUT_MS });
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
  env: Record<string, string>,
  tried: string[],
): Promise<TemporalCli | null> {
  chmodSync(program, 0o755);
  const found = await tryProgram(program, source, env, tried);
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

function elapsed(startedAt: number): string {
  const seconds = Math.round((Date.now() - startedAt) / 1000);
  return seconds < 60 ? `${seconds} s` : `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
}

/** With the cause: fetch says only "fetch failed". */
function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause instanceof Error ? `${error.message}: ${error.cause.message}` : error.message;
}
