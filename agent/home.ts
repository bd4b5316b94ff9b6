/**
 * The agent's home directory: one agent process at a time, and the identity it got by enrolment.
 *
 *   agent.json    { agentId, agentToken }, mode 0600
 *   journal.log   the journal
 *   spool/        output of running commands
 *   pipes/        named pipes not yet in use
 *   work/         where commands run that name no directory
 *   lock          { pid, startTime, bootId } of the process that owns the directory
 *
 * Invariant H: at most one live process holds `lock`. It is created by `link`, which fails when the name exists; a
 * lock whose process is gone is moved aside, looked at again, and only then replaced.
 */
import {
  chmodSync,
  existsSync,
  linkSync,
  mkdirSync,
  readFileSync,
  renameSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { errorCode } from './log.ts';
import { isAlive, readBootId, readProcess } from './proc.ts';

const lockSchema = z.object({
  pid: z.int(),
  startTime: z.string().nullable(),
  bootId: z.string().nullable(),
});
const identitySchema = z.object({ agentId: z.string().min(1), agentToken: z.string().min(1) });
export type AgentIdentity = z.infer<typeof identitySchema>;

/** How often taking over a stale lock is tried while others try too. */
const LOCK_ATTEMPTS = 10;

export interface HomeLock {
  release(): void;
}

const isStale = (text: string): boolean => {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return true;
  }
  const lock = lockSchema.safeParse(value);
  if (!lock.success) return true;
  return lock.data.bootId !== readBootId() || !isAlive(lock.data.pid, lock.data.startTime);
};

/**
 * Create the directory if need be and take its lock.
 *
 * @throws Error naming the pid when another live agent process holds it.
 */
export function lockHome(home: string): HomeLock {
  for (const name of ['', 'spool', 'pipes', 'work'])
    mkdirSync(join(home, name), { recursive: true, mode: 0o700 });
  // Commands run as another user must be able to pass through to `work`; the files beside it are 0600.
  chmodSync(home, 0o711);
  chmodSync(join(home, 'work'), 0o755);
  const path = join(home, 'lock');
  const own = join(home, `lock.${process.pid}.${Math.random().toString(36).slice(2)}`);
  const content = JSON.stringify({
    pid: process.pid,
    startTime: readProcess(process.pid)?.startTime ?? null,
    bootId: readBootId(),
  });
  writeFileSync(own, content, { mode: 0o600 });
  try {
    for (let attempt = 0; attempt < LOCK_ATTEMPTS; attempt += 1) {
      try {
        linkSync(own, path);
        return { release: () => releaseLock(path, content) };
      } catch (error) {
        if (errorCode(error) !== 'EEXIST') throw error;
      }
      setStaleAside(path, `${own}.stale`);
    }
  } finally {
    unlinkSync(own);
  }
  throw new Error(`the agent home ${home} is being taken by another process`);
}

function setStaleAside(path: string, aside: string): void {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch {
    return;
  }
  if (!isStale(text)) {
    throw new Error(`another agent uses this home: ${text} (STEELTHREAD_AGENT_HOME names another directory)`);
  }
  try {
    renameSync(path, aside);
    // Between the look and the move another process may have replaced the stale lock by its own: give it back.
    if (!isStale(readFileSync(aside, 'utf8'))) linkSync(aside, path);
    unlinkSync(aside);
  } catch {
    // Someone else moved it first; the next attempt sees who.
  }
}

function releaseLock(path: string, content: string): void {
  try {
    if (readFileSync(path, 'utf8') === content) unlinkSync(path);
  } catch {
    // Gone already.
  }
}

/** Identity stored by an earlier enrolment, or null. @throws when the file is damaged. */
export function readIdentity(home: string): AgentIdentity | null {
  const path = join(home, 'agent.json');
  if (!existsSync(path)) return null;
  return identitySchema.parse(JSON.parse(readFileSync(path, 'utf8')));
}

/** Store the identity, mode 0600, atomically. */
export function writeIdentity(home: string, identity: AgentIdentity): void {
  mkdirSync(home, { recursive: true, mode: 0o700 });
  const temporary = join(home, 'agent.json.new');
  writeFileSync(temporary, `${JSON.stringify(identity, null, 2)}\n`, { mode: 0o600 });
  renameSync(temporary, join(home, 'agent.json'));
}
