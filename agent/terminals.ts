/**
 * The terminals of this agent: opened, found again after a reconnect, and gone with the agent.
 *
 * The kill rule takes the session's id for a command's. A file per living session tells the next agent process what to
 * kill when this one is killed.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, unlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { decodeTerminalBytes, type TerminalServerFrame } from '../contracts/agent-protocol.ts';
import { commandEnvironment } from './environment.ts';
import { type KillOptions, killCommand } from './kill.ts';
import type { Link } from './link.ts';
import { type AgentLog, errorText } from './log.ts';
import type { Machine } from './machine.ts';
import { readBootId, readProcess } from './proc.ts';
import { loadPtyLibrary, type PtyLibrary } from './pty.ts';
import { enteringCgroup, findProgram } from './shells.ts';
import { createTerminalFrames } from './terminal-frames.ts';
import { createTerminalLeader } from './terminal-leader.ts';
import { createTerminalSession, type OpenFrame, type TerminalSession } from './terminal-session.ts';

/** Terminals of one agent at a time. */
export const DEFAULT_MAX_TERMINALS = 64;
/** Between the polite and the other end of a session's processes, milliseconds. They got a HUP before. */
const TERMINAL_KILL_GRACE_MS = 1_000;

export interface TerminalOptions {
  /** Program of every terminal; default the login shell of the agent's user, else bash or sh. */
  shell?: string;
  maxSessions?: number;
}

export interface TerminalsDeps {
  /** Absent: this agent offers none. */
  options: TerminalOptions | undefined;
  home: string;
  machine: Pick<Machine, 'cgroups' | 'shells' | 'environment'>;
  kill?: Pick<KillOptions, 'graceMs' | 'deadlineMs'> | undefined;
  link: Link;
  log: AgentLog;
}

export interface Terminals {
  /** `terminal`, or nothing. */
  readonly capabilities: readonly string[];
  /** A new connection: tell which sessions live, and again which have ended. */
  announce(): void;
  receive(frame: TerminalServerFrame): void;
  receiveBytes(frame: Buffer): void;
  pump(): void;
  linkLost(): void;
  /** End all. Resolves when nothing of them lives. */
  close(reason: string): Promise<void>;
}

const recordSchema = z.object({
  pid: z.int(),
  processStart: z.string().nullable(),
  bootId: z.string().nullable(),
});

/** Ends what an earlier agent process left, then is ready. Never rejects for want of node-pty. */
export async function createTerminals(deps: TerminalsDeps): Promise<Terminals> {
  const { link, log, home } = deps;
  const folder = join(home, 'terminals');
  const sessions = new Map<string, TerminalSession>();
  const frames = createTerminalFrames();
  const kill = (sessionId: string, pid: number | null, processStart: string | null): Promise<number> =>
    killCommand(
      { commandId: sessionId, pid, processStart },
      { graceMs: TERMINAL_KILL_GRACE_MS, ...deps.kill, cgroups: deps.machine.cgroups },
    );
  await killLeftovers(folder, kill, log);

  const library = deps.options === undefined ? null : await loadPtyLibrary();
  if (library !== null && 'missing' in library)
    log.warn('terminals_unavailable', { reason: library.missing });
  const ptys = library === null || 'missing' in library ? null : library;
  if (ptys !== null) mkdirSync(folder, { recursive: true, mode: 0o700 });
  let stopping: string | null = null;

  const refuse = (sessionId: string, reason: string): void =>
    void link.send({
      type: 'terminal.closed',
      sessionId,
      reason,
      exitCode: null,
      signal: null,
      outputBytes: 0,
      survivors: 0,
    });

  const open = (frame: OpenFrame): void => {
    const { sessionId } = frame;
    if (sessions.has(sessionId)) return;
    const max = deps.options?.maxSessions ?? DEFAULT_MAX_TERMINALS;
    if (ptys === null || stopping !== null) return refuse(sessionId, stopping ?? 'terminals_unavailable');
    if (sessions.size >= max) return refuse(sessionId, 'too_many_terminals');
    const shell = shellOf(deps);
    if (shell === null) return refuse(sessionId, 'shell_not_found');
    try {
      const session = start(ptys, frame, shell);
      sessions.set(sessionId, session);
      log.info('terminal_opened', { sessionId, pid: session.pid });
      link.send({ type: 'terminal.opened', sessionId, pid: session.pid, shell });
    } catch (error) {
      log.error('terminal_failed', { sessionId, err: errorText(error) });
      refuse(sessionId, 'terminal_failed');
    }
  };

  const start = (library: PtyLibrary, frame: OpenFrame, shell: string): TerminalSession => {
    const { sessionId } = frame;
    const environment = commandEnvironment(
      sessionId,
      { environment: { TERM: 'xterm-256color', COLORTERM: 'truecolor' } },
      null,
      deps.machine.environment,
    );
    const procsFile = deps.machine.cgroups?.create(sessionId) ?? null;
    const sh = findProgram('sh', environment.PATH ?? '') ?? '/bin/sh';
    const leader = createTerminalLeader();
    const plain = { ...leader.invocation(sh, shell), windowsVerbatimArguments: false };
    const { file, args } = procsFile === null ? plain : enteringCgroup(plain, sh, procsFile);
    const directory = existsSync(environment.HOME ?? '') ? (environment.HOME ?? '/') : '/';
    const record = join(folder, `${sessionId}.json`);
    const session = createTerminalSession({
      ptys: library,
      link,
      frames,
      open: frame,
      program: { file, args, environment, directory },
      leader,
      kill: async (pid) => {
        hangUp(pid);
        const survivors = await kill(sessionId, pid, processStart);
        if (survivors === 0) removeFile(record);
        log.info('terminal_ended', { sessionId, survivors });
        return survivors;
      },
    });
    const processStart = readProcess(session.pid)?.startTime ?? null;
    const facts = { pid: session.pid, processStart, bootId: readBootId() };
    try {
      writeFileSync(record, JSON.stringify(facts), { mode: 0o600 });
    } catch (error) {
      // It runs, and nobody could end it if this process were killed: it ends, and says so itself.
      log.error('terminal_failed', { sessionId, err: errorText(error) });
      void session.close('terminal_failed');
    }
    return session;
  };

  const receive: Terminals['receive'] = (frame) => {
    if (frame.type === 'terminal.open') return open(frame);
    const { sessionId } = frame;
    const session = sessions.get(sessionId);
    if (session === undefined) {
      // The server waits for the end of a session that nobody here knows.
      if (frame.type === 'terminal.attach' || frame.type === 'terminal.close') refuse(sessionId, 'lost');
      return;
    }
    switch (frame.type) {
      case 'terminal.attach':
        return session.attach(frame);
      case 'terminal.detach':
        return session.detach();
      case 'terminal.resize':
        return session.resize(frame.cols, frame.rows);
      case 'terminal.ack':
        return session.ack(frame.offset);
      case 'terminal.close':
        return void session.close(frame.reason);
      case 'terminal.closedAck':
        if (!session.isEnded()) return;
        session.dispose();
        sessions.delete(sessionId);
    }
  };

  return {
    capabilities: ptys === null ? [] : ['terminal'],
    announce: () => {
      if (ptys !== null) link.send({ type: 'terminal.alive', sessionIds: [...sessions.keys()] });
    },
    receive,
    receiveBytes: (frame) => {
      const input = decodeTerminalBytes(frame);
      if (input?.kind === 'input') sessions.get(input.sessionId)?.input(input.offset, input.bytes);
    },
    pump: () => {
      for (const session of sessions.values()) session.pump();
    },
    linkLost: () => {
      for (const session of sessions.values()) session.linkLost();
    },
    close: async (reason) => {
      stopping = reason;
      await Promise.all([...sessions.values()].map((session) => session.close(reason)));
      for (const session of sessions.values()) session.dispose();
    },
  };
}

/** What was asked for, else what the user logs in with, else what there is. */
function shellOf({ options, machine }: TerminalsDeps): string | null {
  const { environment } = machine;
  const searchPath = environment.PATH ?? '/usr/local/bin:/usr/bin:/bin';
  const login = commandEnvironment('', { environment: {} }, null, environment).SHELL;
  for (const name of [options?.shell, login, ...machine.shells, 'sh']) {
    if (name === undefined || name === '') continue;
    const path = name.includes('/') ? (existsSync(name) ? name : null) : findProgram(name, searchPath);
    if (path !== null) return path;
  }
  return null;
}

/** Interactive shells ignore TERM; this is how terminals end. */
function hangUp(pid: number): void {
  try {
    process.kill(-pid, 'SIGHUP');
  } catch {
    // Gone already.
  }
}

function removeFile(path: string): void {
  try {
    unlinkSync(path);
  } catch {
    // Gone already.
  }
}

/** A killed agent's PTYs are closed by the kernel, but what ignored the hangup lives on. */
async function killLeftovers(
  folder: string,
  kill: (sessionId: string, pid: number | null, processStart: string | null) => Promise<number>,
  log: AgentLog,
): Promise<void> {
  if (!existsSync(folder)) return;
  await Promise.all(
    readdirSync(folder).map(async (name) => {
      const path = join(folder, name);
      const sessionId = name.replace(/\.json$/, '');
      const record = readRecord(path);
      // A pid of an earlier boot names a stranger.
      const isSameBoot = record !== null && record.bootId === readBootId();
      const survivors = isSameBoot ? await kill(sessionId, record.pid, record.processStart) : 0;
      if (survivors === 0) removeFile(path);
      log.warn('terminal_leftovers_ended', { sessionId, survivors });
    }),
  );
}

function readRecord(path: string): z.infer<typeof recordSchema> | null {
  try {
    return recordSchema.parse(JSON.parse(readFileSync(path, 'utf8')));
  } catch {
    return null;
  }
}
