/**
 * What Linux tells about processes in /proc. Everything answers null or nothing on other systems.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { errorCode } from './log.ts';

export interface ProcessInfo {
  pid: number;
  /** `Z` and `X` are dead already, with all their threads. */
  state: string;
  processGroup: number;
  session: number;
  /** Start, clock ticks since boot: with the pid and the boot id the identity of a process. */
  startTime: string;
}

/** Identity of this boot, or null. */
export function readBootId(): string | null {
  try {
    return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  } catch {
    return null;
  }
}

/** Facts of one process, or null when it is gone (or there is no /proc). */
export function readProcess(pid: number): ProcessInfo | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    // The name in parentheses may hold spaces and parentheses: the fields follow the last one.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    const [state, , group, session] = fields;
    const [threads, , startTime] = fields.slice(17);
    if (state === undefined || startTime === undefined) return null;
    // The first thread has ended and others run on: what is told is its state.
    const lives = state === 'Z' && Number(threads) > 1;
    const [processGroup, leader] = [Number(group), Number(session)];
    return { pid, state: lives ? 'S' : state, processGroup, session: leader, startTime };
  } catch {
    return null;
  }
}

/** Pids of all processes, or none where there is no /proc. */
export function listPids(): number[] {
  try {
    return readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name))
      .map(Number);
  } catch {
    return [];
  }
}

/**
 * Does the environment the process was started with hold exactly this `NAME=value`? Null: there is none to read, because it
 * is gone, becomes another program right now, or is of the kernel.
 */
export function findEnvironmentEntry(pid: number, entry: string): boolean | null {
  try {
    const environment = readFileSync(`/proc/${pid}/environ`, 'latin1');
    if (environment === '') return null;
    return environment.startsWith(`${entry}\0`) || environment.includes(`\0${entry}\0`);
  } catch (error) {
    // Of a user whose processes are none of ours to read; EPERM where /proc is mounted with hidepid=1.
    return ['EACCES', 'EPERM'].includes(errorCode(error) ?? '') ? false : null;
  }
}

/** True when the environment the process was started with holds exactly this `NAME=value`. */
export const hasEnvironmentEntry = (pid: number, entry: string): boolean =>
  findEnvironmentEntry(pid, entry) === true;

/** True when this very process (not another one with its pid) lives. A null start time means: any with that pid. */
export function isAlive(pid: number, startTime: string | null): boolean {
  const info = readProcess(pid);
  if (info !== null) {
    return info.state !== 'Z' && info.state !== 'X' && (startTime === null || info.startTime === startTime);
  }
  if (process.platform === 'linux') return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
