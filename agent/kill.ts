/**
 * The kill rule: end everything a command started.
 *
 * Who belongs to a command: the members of its cgroup (where one could be made), the members of its session, and
 * every process that was started with STEELTHREAD_COMMAND_ID=<its id>. A program that clears its environment, leaves
 * the session and runs where no cgroup can be made escapes; the documentation says so.
 *
 * Invariants:
 *  K1. First TERM (and CONT, so that a stopped process gets it), then, after KILL_GRACE_MS or as soon as nobody is
 *      left, KILL, repeated until two searches in a row find nobody and could look at everybody: whoever ended between
 *      being listed and being looked at may have left a child that was not listed yet.
 *  K2. A pid is signalled only while its start time is the one seen when it was found to belong to the command.
 *  K3. It ends by KILL_DEADLINE_MS, and tells how many survived.
 *
 * macOS: process group only. Windows: `taskkill /T /F`. Neither was run by the tests of this project.
 */
import { spawn } from 'node:child_process';
import { setTimeout as delay } from 'node:timers/promises';
import type { CommandCgroups } from './cgroup.ts';
import { findEnvironmentEntry, isAlive, listPids, type ProcessInfo, readProcess } from './proc.ts';

/** Environment variable that marks every process of a command. */
export const COMMAND_ID_VARIABLE = 'STEELTHREAD_COMMAND_ID';
/** Between TERM and KILL, milliseconds. */
export const KILL_GRACE_MS = 3_000;
/** The search for survivors ends then, counted from the first signal, milliseconds. */
export const KILL_DEADLINE_MS = 15_000;
/** Pause between searches while waiting, milliseconds. */
const SEARCH_INTERVAL_MS = 25;
/** On a machine whose other processes come and go all the time, searches that found nobody count after this long, milliseconds. */
const MAX_UNSURE_MS = 1_000;

export interface KillTarget {
  commandId: string;
  /** Leader of the command's own process group and session, or null when it is not known. */
  pid: number | null;
  processStart: string | null;
}

export interface KillOptions {
  cgroups?: CommandCgroups | null;
  graceMs?: number;
  deadlineMs?: number;
}

/** What one search found. */
interface Search {
  /** Processes of the command that live now. */
  found: ProcessInfo[];
  /** Nobody was listed who could not be looked at (K1). */
  isSure: boolean;
}

/** Searches for the processes of the command, one after the other. */
function createSearch(target: KillTarget, cgroups: CommandCgroups | null): () => Search {
  const entry = `${COMMAND_ID_VARIABLE}=${target.commandId}`;
  /** Dead ones that nobody waits for, and those of the kernel: a child of theirs was listed by the search after. */
  let known = new Set<string>();
  return () => {
    const before = known;
    known = new Set();
    const members = new Set(cgroups?.pids(target.commandId) ?? []);
    const found: ProcessInfo[] = [];
    let isSure = true;
    const note = ({ pid, startTime, state }: ProcessInfo): void => {
      const identity = `${pid}/${startTime}/${state === 'Z' ? state : ''}`;
      known.add(identity);
      isSure &&= before.has(identity);
    };
    // A leader with another start time is a stranger with a reused pid, and so is its group.
    const leader = target.pid === null ? null : readProcess(target.pid);
    const isStranger =
      leader !== null && target.processStart !== null && leader.startTime !== target.processStart;
    const groupId = isStranger ? null : target.pid;
    for (const pid of listPids()) {
      if (pid === process.pid || pid === process.ppid) continue;
      const info = readProcess(pid);
      if (info === null) {
        // Gone, or hidden from us for good.
        isSure &&= findEnvironmentEntry(pid, entry) === false;
        continue;
      }
      if (info.state === 'Z' || info.state === 'X') {
        note(info);
        continue;
      }
      // A command leads a session of its own; the jobs of a terminal's shell are groups of their own in it.
      const isInSession = groupId !== null && info.session === groupId;
      const carries = isInSession || members.has(pid) || findEnvironmentEntry(pid, entry);
      if (carries === true) found.push(info);
      else if (carries === null) note(info);
    }
    return { found, isSure };
  };
}

function signal(processes: readonly ProcessInfo[], names: readonly NodeJS.Signals[]): void {
  for (const { pid, startTime } of processes) {
    if (!isAlive(pid, startTime)) continue;
    for (const name of names) {
      try {
        process.kill(pid, name);
      } catch {
        // Gone meanwhile, or not ours to signal: the next search tells.
      }
    }
  }
}

async function killOnLinux(target: KillTarget, options: KillOptions): Promise<number> {
  const cgroups = options.cgroups ?? null;
  const start = performance.now();
  const graceEnd = start + (options.graceMs ?? KILL_GRACE_MS);
  const deadline = start + (options.deadlineMs ?? KILL_DEADLINE_MS);
  const search = createSearch(target, cgroups);
  let { found: living, isSure } = search();
  const warned = new Set<string>();
  while (living.length > 0 && performance.now() < graceEnd) {
    const fresh = living.filter(({ pid, startTime }) => !warned.has(`${pid}/${startTime}`));
    signal(fresh, ['SIGTERM', 'SIGCONT']);
    for (const { pid, startTime } of fresh) warned.add(`${pid}/${startTime}`);
    await delay(SEARCH_INTERVAL_MS);
    ({ found: living, isSure } = search());
  }
  let emptySearches = living.length === 0 && isSure ? 1 : 0;
  let unsureEnd = performance.now() + MAX_UNSURE_MS;
  while (emptySearches < 2 && performance.now() < deadline) {
    if (living.length > 0) {
      cgroups?.kill(target.commandId);
      signal(living, ['SIGKILL']);
    }
    // A storm of forks is outrun without a pause; killed processes need a moment to go.
    await delay(emptySearches > 0 ? 1 : 5);
    ({ found: living, isSure } = search());
    if (living.length > 0) unsureEnd = performance.now() + MAX_UNSURE_MS;
    const isEmpty = living.length === 0 && (isSure || performance.now() > unsureEnd);
    emptySearches = isEmpty ? emptySearches + 1 : 0;
  }
  cgroups?.remove(target.commandId);
  return living.length;
}

async function killGroup(pid: number, options: KillOptions): Promise<number> {
  const send = (name: NodeJS.Signals | 0): boolean => {
    try {
      process.kill(-pid, name);
      return true;
    } catch {
      return false;
    }
  };
  const start = performance.now();
  send('SIGTERM');
  while (send(0) && performance.now() - start < (options.graceMs ?? KILL_GRACE_MS)) {
    await delay(SEARCH_INTERVAL_MS);
  }
  while (send(0) && performance.now() - start < (options.deadlineMs ?? KILL_DEADLINE_MS)) {
    send('SIGKILL');
    await delay(SEARCH_INTERVAL_MS);
  }
  return send(0) ? 1 : 0;
}

const killOnWindows = (pid: number): Promise<number> =>
  new Promise((resolve) => {
    const child = spawn('taskkill', ['/T', '/F', '/PID', String(pid)], { stdio: 'ignore' });
    child.once('error', () => resolve(1));
    // 128: there is no such process.
    child.once('exit', (code) => resolve(code === 0 || code === 128 ? 0 : 1));
  });

/** End all processes of a command (K1). Resolves to the number of survivors, 0 when it is certain that none is left. */
export async function killCommand(target: KillTarget, options: KillOptions = {}): Promise<number> {
  if (process.platform === 'linux') return killOnLinux(target, options);
  if (target.pid === null) return 0;
  return process.platform === 'win32' ? killOnWindows(target.pid) : killGroup(target.pid, options);
}
