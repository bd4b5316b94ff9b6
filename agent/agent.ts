/**
 * One agent: home, journal, commands and connection put together, with an orderly end.
 *
 *   lock home ─► open journal ─► recover ─► connect ─► … ─► drain ─► disconnect ─► close journal ─► release home
 */
import { hostname, release, type } from 'node:os';
import { join } from 'node:path';
import { type Delivery, type Hello, PROTOCOL_VERSION } from '../contracts/agent-protocol.ts';
import { type BackoffLimits, defaultBackoff } from './backoff.ts';
import { createClaims } from './claims.ts';
import { createCommands } from './commands.ts';
import { type Connection, createConnection, type Welcome } from './connection.ts';
import type { Executor } from './executor.ts';
import { dispatchFrame, refuseMalformed } from './frames.ts';
import { lockHome } from './home.ts';
import { type Journal, openJournal } from './journal.ts';
import type { KillOptions } from './kill.ts';
import type { Link } from './link.ts';
import type { StreamDeps } from './live-command.ts';
import { type AgentLog, errorText, silentLog } from './log.ts';
import { createMachine, type Machine } from './machine.ts';
import { startPresence } from './presence-loop.ts';
import { recoverCommands } from './recovery.ts';
import { createTerminals, type TerminalOptions } from './terminals.ts';
import { startTemporalTransport, type TemporalAddress } from './transports/temporal.ts';

/** Commands past the agent's own queue at one time. */
export const DEFAULT_MAX_PARALLEL = 16;
/** At the end running commands may finish for this long before they are killed, milliseconds. */
export const DRAIN_DEADLINE_MS = 20_000;
/** At the end the server has this long to ack results, milliseconds. */
export const FINAL_ACK_DEADLINE_MS = 3_000;
export const AGENT_VERSION = '0.1.0';

export interface AgentOptions {
  /** Base URL of the server. */
  url: string;
  agentId: string;
  token: string;
  /** Directory of this agent alone; created when missing. */
  home: string;
  /** What it is called instead of its machine's name. */
  name?: string;
  /** Where commands run that name no directory; default `<home>/work`. */
  workDir?: string;
  /** Default `websocket`. */
  delivery?: Delivery;
  maxParallel?: number;
  drainMs?: number;
  /** Replaces the executor of real processes (benchmarks). It then brings its own capabilities. */
  executor?: Executor;
  /** Offer terminals, where they can be made. Absent: none. */
  terminals?: TerminalOptions;
  /** False: presence frames carry no host metrics. Default true. */
  metrics?: boolean;
  /** Where the activity worker connects when the welcome does not say. */
  temporal?: TemporalAddress;
  log?: AgentLog;
  backoff?: Partial<BackoffLimits>;
  random?: () => number;
  kill?: Pick<KillOptions, 'graceMs' | 'deadlineMs'>;
  /** `off`: never make cgroups. Default `auto`. */
  cgroups?: 'auto' | 'off';
  pingIntervalMs?: number;
  /** The environment commands get a few names from. Default: this process's. */
  environment?: Readonly<Record<string, string | undefined>>;
}

export interface Agent {
  /** Resolves at the first welcome; rejects when the agent cannot start (locked home, damaged journal) or is closed before. */
  ready: Promise<void>;
  /** Resolves when the agent has stopped; rejects with what kept it from starting. */
  done: Promise<void>;
  /** Drain (running commands get `drainMs`), report, disconnect. Idempotent. */
  close(options?: { drainMs?: number }): Promise<void>;
  /** While it drains: kill what still runs now instead of at the deadline. */
  hurry(): void;
}

/** Start an agent in this process. */
export function createAgent(options: AgentOptions): Agent {
  let parts: Parts | null = null;
  let closing: Promise<void> | null = null;
  let resolveReady: () => void = () => {};
  let rejectReady: (error: Error) => void = () => {};
  const ready = new Promise<void>((resolve, reject) => {
    resolveReady = resolve;
    rejectReady = reject;
  });
  ready.catch(() => {});
  let resolveDone: () => void = () => {};
  let rejectDone: (error: unknown) => void = () => {};
  const done = new Promise<void>((resolve, reject) => {
    resolveDone = resolve;
    rejectDone = reject;
  });
  done.catch(() => {});

  const starting = startParts(options, () => resolveReady()).then(
    (started) => {
      parts = started;
    },
    (error: unknown) => {
      rejectReady(error instanceof Error ? error : new Error(String(error)));
      rejectDone(error);
    },
  );
  const close = async (drainMs: number): Promise<void> => {
    await starting;
    await parts?.stop(drainMs);
    rejectReady(new Error('the agent was closed before it was connected'));
    resolveDone();
  };
  return {
    ready,
    done,
    close: (closeOptions = {}) => {
      closing ??= close(closeOptions.drainMs ?? options.drainMs ?? DRAIN_DEADLINE_MS);
      return closing;
    },
    hurry: () => parts?.hurry(),
  };
}

interface Parts {
  stop(drainMs: number): Promise<void>;
  hurry(): void;
}

async function startParts(options: AgentOptions, onReady: () => void): Promise<Parts> {
  const log = options.log ?? silentLog;
  const lock = lockHome(options.home);
  let journal: Journal | null = null;
  let machine: Machine | null = null;
  try {
    journal = openJournal(options.home);
    machine = await createMachine(options, log);
    return await connectParts(options, log, { journal, machine, release: lock.release, onReady });
  } catch (error) {
    log.error('agent_start_failed', { err: errorText(error) });
    journal?.close();
    machine?.close();
    lock.release();
    throw error;
  }
}

async function connectParts(
  options: AgentOptions,
  log: AgentLog,
  owned: { journal: Journal; machine: Machine; release: () => void; onReady: () => void },
): Promise<Parts> {
  const { journal, machine } = owned;
  let connection: Connection | null = null;
  const link: Link = {
    send: (frame) => connection?.send(frame) ?? false,
    sendBytes: (frame, onLeft) => connection?.sendBytes(frame, onLeft) ?? false,
    hasRoom: () => connection?.hasRoom() ?? false,
  };
  const spoolDirectory = join(options.home, 'spool');
  const { executor } = machine;
  const streams: StreamDeps = {
    spoolDirectory,
    link,
    onDiskError: (error) => log.error('spool_write_failed', { err: errorText(error) }),
  };
  const maxParallel = options.maxParallel ?? DEFAULT_MAX_PARALLEL;
  const commands = createCommands({ journal, executor, link, streams, maxParallel, log });
  await recoverCommands({ journal, executor, commands, streams, log });

  const terminals = await createTerminals({
    options: options.terminals,
    home: options.home,
    machine,
    kill: options.kill,
    link,
    log,
  });
  const claims = createClaims({ link, commands });
  const presence = startPresence({ link, journal, commands, metrics: options.metrics ?? true, log });
  let temporal: { close(): Promise<void> } | null = null;
  let isDraining = false;
  const onWelcome = (welcome: Welcome): 'accept' | 'reconnect' => {
    if (welcome.resetJournal) {
      journal.reset();
      log.warn('journal_reset', { journalId: journal.journalId() });
      return 'reconnect';
    }
    // The server has forgotten it with the connection before.
    if (isDraining) link.send({ type: 'draining' });
    commands.announce();
    terminals.announce();
    presence.begin(welcome.presenceIntervalMs);
    const address = options.temporal ?? welcome.temporal;
    if (options.delivery === 'temporal' && temporal === null) {
      if (address === undefined) log.error('temporal_address_missing');
      else temporal = startTemporalTransport({ address, claims, log });
    }
    owned.onReady();
    return 'accept';
  };
  connection = createConnection({
    url: options.url,
    token: options.token,
    hello: () => helloOf(options, journal, machine, terminals.capabilities),
    onWelcome,
    onFrame: (frame) => dispatchFrame(frame, { commands, claims, presence, terminals, log }),
    onBytes: terminals.receiveBytes,
    onMalformed: (text) => refuseMalformed(text, commands),
    onRoom: () => {
      commands.pump();
      terminals.pump();
    },
    onEnd: () => {
      presence.pause();
      terminals.linkLost();
      claims.connectionLost();
    },
    log,
    backoff: { ...defaultBackoff, ...options.backoff },
    random: options.random ?? Math.random,
    pingIntervalMs: options.pingIntervalMs,
  });
  const open = connection;

  return {
    hurry: () => commands.stopAll('agent_stopping'),
    stop: async (drainMs) => {
      log.info('draining', { running: commands.runningCount() });
      isDraining = true;
      link.send({ type: 'draining' });
      commands.drain();
      const stopTerminals = terminals.close('agent_stopping');
      const stopTemporal = temporal?.close();
      if (!(await within(commands.settled('running'), drainMs))) {
        commands.stopAll('agent_stopping');
        await commands.settled('running');
      }
      if (open.isOpen()) await within(commands.settled('all'), FINAL_ACK_DEADLINE_MS);
      claims.close();
      await stopTerminals;
      await stopTemporal;
      presence.pause();
      await open.close();
      commands.close();
      journal.close();
      machine.close();
      owned.release();
      log.info('stopped');
    },
  };
}

/** True when the promise resolved within the time. */
async function within(promise: Promise<void>, ms: number): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<false>((resolve) => {
    timer = setTimeout(() => resolve(false), ms);
  });
  const inTime = await Promise.race([promise.then(() => true as const), late]);
  clearTimeout(timer);
  return inTime;
}

/** Longest name of a machine that the protocol takes, characters. */
const MAX_HOST_NAME_LENGTH = 255;

/** The name an agent goes by: the given one, else the machine's. */
export const hostNameOf = (given: string | undefined): string =>
  (given || hostname() || 'unknown').slice(0, MAX_HOST_NAME_LENGTH);

const helloOf = (
  options: AgentOptions,
  journal: Journal,
  machine: Machine,
  more: readonly string[],
): Hello => ({
  type: 'hello',
  protocol: PROTOCOL_VERSION,
  agentId: options.agentId,
  journalId: journal.journalId(),
  journalSeq: journal.seq(),
  delivery: options.delivery ?? 'websocket',
  hostname: hostNameOf(options.name),
  os: `${type()} ${release()}`,
  arch: process.arch,
  version: AGENT_VERSION,
  capabilities: [...machine.capabilities, ...more],
  shells: machine.shells,
  defaultShell: machine.shells[0] ?? '',
});
