/**
 * Starts the process of a command, feeds it, reads it, times it and ends it.
 *
 * Invariants:
 *  X1. `rejected` means that no process was started; `started` means that one was, whatever follows.
 *  X2. After a timeout or `stop` nothing of the command is left running (kill rule), or the reason says how many are.
 *  X3. After a normal end background children are left alone: their pipes are read for PIPE_GRACE_MS, then closed.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync, statSync, unlinkSync, writeFile, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import type { Act, AgentOutcome, ShellName, StreamName } from '../contracts/agent-protocol.ts';
import type { CommandCgroups } from './cgroup.ts';
import { commandEnvironment, findUser, type SystemUser } from './environment.ts';
import { type KillOptions, killCommand } from './kill.ts';
import { type AgentLog, errorCode } from './log.ts';
import type { OutputPipe, PipeStock } from './pipes.ts';
import { readProcess } from './proc.ts';
import { enteringCgroup, findProgram, type Invocation, invocationOf } from './shells.ts';

/** After the main process ended, its output pipes are read at most this much longer, milliseconds. */
export const PIPE_GRACE_MS = 500;

export interface Job {
  commandId: string;
  act: Act;
  onOutput(stream: StreamName, bytes: Buffer): void;
}

export interface JobEnd {
  outcome: Extract<AgentOutcome, 'succeeded' | 'failed' | 'timed_out' | 'canceled'>;
  exitCode: number | null;
  signal: string | null;
  reason: string | null;
}

export interface RunningJob {
  kind: 'started';
  pid: number;
  processStart: string | null;
  /** Never rejects. */
  done: Promise<JobEnd>;
  /** Kill it; it ends as canceled with this reason (unless it has ended already). */
  stop(reason: string): void;
}

export type StartOutcome = RunningJob | { kind: 'rejected'; reason: string };

/** The narrow port commands are run through; a benchmark puts one here that does nothing. */
export interface Executor {
  /** Never throws and never rejects. */
  start(job: Job): StartOutcome | Promise<StartOutcome>;
  /** End what an earlier agent process left running; resolves to the number of survivors. */
  killLeftovers(commandId: string, pid: number | null, processStart: string | null): Promise<number>;
}

export interface ExecutorDeps {
  home: string;
  /** Where commands run that name no directory; default `<home>/work`. */
  workDir?: string;
  shells: ReadonlyMap<ShellName, string>;
  capabilities: ReadonlySet<string>;
  cgroups: CommandCgroups | null;
  pipes: PipeStock;
  /** The agent's own environment, of which commands get a few names. */
  ownEnvironment: Readonly<Record<string, string | undefined>>;
  log: AgentLog;
  kill?: Pick<KillOptions, 'graceMs' | 'deadlineMs'>;
}

const isDirectory = (path: string): boolean => {
  try {
    return statSync(path).isDirectory();
  } catch {
    return false;
  }
};

type Plan = {
  invocation: Invocation;
  environment: Record<string, string>;
  directory: string;
  user: SystemUser | null;
};

/** Everything that can be found wrong before a process is made (X1). */
function planOf(deps: ExecutorDeps, job: Job): Plan | { reason: string } {
  const { act } = job;
  let user: SystemUser | null = null;
  if (act.user !== null) {
    user = findUser(act.user);
    if (user === null) return { reason: 'user_not_found' };
    if (user.uid === process.getuid?.()) user = null;
    else if (!deps.capabilities.has('run-as')) return { reason: 'run_as_not_available' };
  }
  if (act.elevated && !deps.capabilities.has('elevate')) return { reason: 'elevation_not_available' };
  const direct = invocationOf(act, deps.shells);
  if (direct === null) return { reason: 'shell_not_found' };
  const directory = act.workingDirectory ?? user?.home ?? deps.workDir ?? join(deps.home, 'work');
  if (!isDirectory(directory)) return { reason: 'working_directory_not_found' };
  const environment = commandEnvironment(job.commandId, act, user, deps.ownEnvironment);
  const invocation = act.elevated && process.getuid?.() !== 0 ? elevated(direct, environment) : direct;
  const program = invocation.file;
  if (
    !program.includes('/') &&
    !program.includes('\\') &&
    findProgram(program, environment.PATH ?? '') === null
  ) {
    return { reason: 'program_not_found' };
  }
  return { invocation, environment, directory, user };
}

/** sudo clears the environment, so `env` sets it again behind it. */
const elevated = (invocation: Invocation, environment: Record<string, string>): Invocation => ({
  ...invocation,
  file: 'sudo',
  args: [
    '-n',
    '--',
    '/usr/bin/env',
    ...Object.entries(environment).map(([name, value]) => `${name}=${value}`),
    invocation.file,
    ...invocation.args,
  ],
});

/** Standard input as an unlinked file, so that it can be reopened as /dev/stdin; 'ignore' is /dev/null. */
function openInput(deps: ExecutorDeps, job: Job): number | 'ignore' {
  if (job.act.stdin === null) return 'ignore';
  const path = join(deps.home, 'spool', `${job.commandId}.stdin`);
  writeFileSync(path, Buffer.from(job.act.stdin, 'base64'), { mode: 0o644 });
  try {
    return openSync(path, 'r');
  } finally {
    if (process.platform !== 'win32') unlinkSync(path);
  }
}

const spawnReasons: Readonly<Record<string, string>> = {
  ENOENT: 'program_not_found',
  EACCES: 'permission_denied',
  E2BIG: 'arguments_too_long',
  EAGAIN: 'out_of_processes',
  EMFILE: 'out_of_file_descriptors',
};
const spawnReason = (error: unknown): string => {
  const code = errorCode(error) ?? 'unknown';
  return spawnReasons[code] ?? `spawn_failed: ${code}`;
};

/** The executor that runs real processes. */
export function createExecutor(deps: ExecutorDeps): Executor {
  return {
    start: (job) => start(deps, job),
    killLeftovers: (commandId, pid, processStart) =>
      killCommand({ commandId, pid, processStart }, { ...deps.kill, cgroups: deps.cgroups }),
  };
}

function start(deps: ExecutorDeps, job: Job): StartOutcome | Promise<StartOutcome> {
  const plan = planOf(deps, job);
  if ('reason' in plan) return { kind: 'rejected', reason: plan.reason };
  const pipes: OutputPipe[] = [];
  const openFds: number[] = [];
  const procsFile = deps.cgroups?.create(job.commandId) ?? null;
  const sh = deps.shells.get('sh');
  // Only for shell acts: their program is known to exist, so `exec` cannot fail where a spawn would have (X1).
  // Another user may not write the file.
  const entersItself =
    procsFile !== null && sh !== undefined && job.act.mode === 'shell' && plan.user === null;
  const invocation = entersItself ? enteringCgroup(plan.invocation, sh, procsFile) : plan.invocation;
  let child: ChildProcess;
  try {
    const input = openInput(deps, job);
    if (input !== 'ignore') openFds.push(input);
    const outputs = [deps.pipes.take(plan.user), deps.pipes.take(plan.user)].map((pipe) => {
      if (pipe === null) return 'pipe' as const;
      pipes.push(pipe);
      openFds.push(pipe.writeFd);
      return pipe;
    });
    const stdio = outputs.map((pipe) => (pipe === 'pipe' ? pipe : pipe.writeFd));
    child = spawn(invocation.file, invocation.args, {
      cwd: plan.directory,
      env: plan.environment,
      detached: true,
      windowsHide: true,
      windowsVerbatimArguments: invocation.windowsVerbatimArguments,
      stdio: [input, ...stdio],
      ...(plan.user === null ? {} : { uid: plan.user.uid, gid: plan.user.gid }),
    });
    const [stdout, stderr] = outputs.map((pipe, index) =>
      pipe === 'pipe' ? (child.stdio[index + 1] as Readable | null) : pipe.reader,
    );
    for (const fd of openFds.splice(0)) closeSync(fd);
    const { pid } = child;
    if (pid === undefined) {
      return new Promise((resolve) => {
        child.once('error', (error) => {
          for (const pipe of pipes) pipe.reader.destroy();
          deps.cgroups?.remove(job.commandId);
          resolve({ kind: 'rejected', reason: spawnReason(error) });
        });
      });
    }
    // Without it the kill rule still has group and environment.
    if (procsFile !== null && !entersItself) writeFile(procsFile, String(pid), () => {});
    return watch(deps, job, child, pid, { stdout: stdout ?? null, stderr: stderr ?? null });
  } catch (error) {
    for (const fd of openFds) closeSync(fd);
    for (const pipe of pipes) pipe.reader.destroy();
    deps.cgroups?.remove(job.commandId);
    return { kind: 'rejected', reason: spawnReason(error) };
  }
}

type Streams = Record<StreamName, Readable | null>;

function watch(deps: ExecutorDeps, job: Job, child: ChildProcess, pid: number, streams: Streams): RunningJob {
  const processStart = readProcess(pid)?.startTime ?? null;
  let stopped: { outcome: 'timed_out' | 'canceled'; reason: string } | null = null;
  let killed: Promise<number> = Promise.resolve(0);
  let hasExited = false;
  let resolveDone: (end: JobEnd) => void = () => {};
  const done = new Promise<JobEnd>((resolve) => {
    resolveDone = resolve;
  });
  const closed = Promise.all([
    readAll(streams.stdout, (bytes) => job.onOutput('stdout', bytes)),
    readAll(streams.stderr, (bytes) => job.onOutput('stderr', bytes)),
  ]);

  const finish = async (exitCode: number | null, signal: string | null): Promise<void> => {
    if (hasExited) return;
    hasExited = true;
    clearTimeout(timer);
    const survivors = await killed;
    await settlePipes(closed, streams);
    deps.cgroups?.remove(job.commandId);
    resolveDone(endOf(exitCode, signal, stopped, survivors));
  };
  const stop = (outcome: 'timed_out' | 'canceled', reason: string): void => {
    if (stopped !== null || hasExited) return;
    stopped = { outcome, reason };
    const options = { ...deps.kill, cgroups: deps.cgroups };
    killed = killCommand({ commandId: job.commandId, pid, processStart }, options).catch(() => 1);
    // A main process that cannot be killed (another user's, or stuck in the kernel) never reports its exit.
    void killed.then((survivors) => (survivors > 0 ? finish(null, null) : undefined));
  };
  // Node's timers run on the monotonic clock.
  const timer = setTimeout(() => stop('timed_out', 'timeout'), job.act.timeoutMs);
  child.on('error', (error) => deps.log.warn('command_process_error', { err: error.message }));
  child.once('exit', (exitCode, signal) => void finish(exitCode, signal));
  return { kind: 'started', pid, processStart, done, stop: (reason) => stop('canceled', reason) };
}

/** Resolves when the stream is closed, by its writers or by us. */
const readAll = (stream: Readable | null, onBytes: (bytes: Buffer) => void): Promise<void> =>
  new Promise((resolve) => {
    if (stream === null) return resolve();
    stream.on('data', onBytes);
    stream.on('error', () => {});
    stream.once('close', resolve);
  });

/** X3: wait for the pipes, but not for background children that hold them. */
async function settlePipes(closed: Promise<unknown>, streams: Streams): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const grace = new Promise<void>((resolve) => {
    // One more turn of the event loop: on a busy machine the timer may be due before waiting bytes were read.
    timer = setTimeout(() => setImmediate(resolve), PIPE_GRACE_MS);
  });
  await Promise.race([closed, grace]);
  clearTimeout(timer);
  streams.stdout?.destroy();
  streams.stderr?.destroy();
}

function endOf(
  exitCode: number | null,
  signal: string | null,
  stopped: { outcome: 'timed_out' | 'canceled'; reason: string } | null,
  survivors: number,
): JobEnd {
  if (stopped !== null) {
    const rest = survivors > 0 ? `; ${survivors} process(es) survived the kill` : '';
    return { outcome: stopped.outcome, exitCode, signal, reason: stopped.reason + rest };
  }
  if (exitCode === 0) return { outcome: 'succeeded', exitCode, signal: null, reason: null };
  return { outcome: 'failed', exitCode, signal, reason: signal === null ? 'exit_code' : 'signal' };
}
