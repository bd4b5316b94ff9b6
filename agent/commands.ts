/**
 * The commands of this agent: what each frame about a command does.
 *
 *   run ─► (known? answer) ─► digest ─► queue ─► INTENT ─► start ─► STARTED ─► output* ─► RESULT ─► resultAck
 *                                       └──────────── launcher.ts ────────────┘
 *
 * Invariants (letters A and B are the protocol's):
 *  A.  A run frame whose act has another digest is rejected before INTENT.
 *  B.  An id in the journal or in memory never starts again; the same digest is answered with its state or result,
 *      another one is refused with `error{code:'digest_conflict'}`.
 *  M1. Frames are handled in the order they come and change the state at once, so the frames of one command are
 *      never handled out of order.
 */
import {
  actDigest,
  NO_DIGEST,
  type RunFrame,
  type StreamName,
  streamNames,
} from '../contracts/agent-protocol.ts';
import type { Executor } from './executor.ts';
import type { Journal } from './journal.ts';
import { createLauncher } from './launcher.ts';
import type { Link } from './link.ts';
import {
  type LiveCommand,
  memoryOutput,
  type ResultFacts,
  resultOf,
  SPILL_AFTER_MS,
  type StreamDeps,
} from './live-command.ts';
import { type AgentLog, errorText } from './log.ts';
import { createReporting } from './reporting.ts';

/** How often expiry in the queue and unacked frames are looked at while there is any command, milliseconds. */
export const SWEEP_INTERVAL_MS = 1_000;

export interface CommandsDeps {
  journal: Journal;
  executor: Executor;
  link: Link;
  streams: StreamDeps;
  maxParallel: number;
  log: AgentLog;
}

export interface Commands {
  run(frame: RunFrame): void;
  cancel(commandId: string, reason: string): void;
  outputAck(commandId: string, stream: StreamName, nextOffset: number): void;
  resultAck(commandId: string): void;
  /** Refuse a command whose act this agent cannot understand. */
  refuse(commandId: string, digest: string, reason: string): void;
  /** A new socket: tell the server about everything it does not ask about soon. */
  announce(): void;
  /** The socket has room again. */
  pump(): void;
  /** Take over a command of an earlier agent process. */
  adopt(command: LiveCommand): void;
  /** No new starts from now on. Commands still queued here were never started, and say so. */
  drain(): void;
  /** Kill everything that runs. */
  stopAll(reason: string): void;
  runningCount(): number;
  /** Resolves when nothing runs (`running`), or when nothing waits for an ack either (`all`). */
  settled(what: 'running' | 'all'): Promise<void>;
  /** Resolves when the server has stored the result; at once when it had before. */
  acked(commandId: string): Promise<void>;
  isKnown(commandId: string): boolean;
  close(): void;
}

/** The state machine of all commands of one agent. */
export function createCommands(deps: CommandsDeps): Commands {
  const { journal, link, log } = deps;
  const live = new Map<string, LiveCommand>();
  const reporting = createReporting({ link, live });
  const launcher = createLauncher({ ...deps, reporting, onEnd: (command, facts) => finish(command, facts) });
  const ackWaiters = new Map<string, (() => void)[]>();
  let settleWaiters: { what: 'running' | 'all'; resolve: () => void }[] = [];
  let sweepTimer: NodeJS.Timeout | null = null;
  let isDraining = false;
  let isClosed = false;

  /** In the journal before it is sent, so that a restart says the same. */
  const finish = (command: LiveCommand, facts: ResultFacts): void => {
    const { commandId } = command;
    const result = resultOf(command, { finishedAt: new Date().toISOString(), ...facts });
    command.state = { kind: 'finished', result, sentAt: null };
    try {
      journal.finished(result, memoryOutput(command.streams));
    } catch (error) {
      log.error('journal_write_failed', { commandId, err: errorText(error) });
    }
    const { outcome, exitCode, reason, durationMs } = result;
    log.info('command_finished', { commandId, outcome, exitCode, reason, durationMs });
    reporting.push(command);
    settle();
  };

  const add = (commandId: string, digest: string, state: LiveCommand['state']): LiveCommand => {
    const command: LiveCommand = { commandId, digest, streams: null, started: null, state };
    live.set(commandId, command);
    armSweep();
    return command;
  };
  /** End a command that was never started. */
  const finishUnstarted = (commandId: string, digest: string, facts: ResultFacts): void =>
    finish(add(commandId, digest, { kind: 'starting', cancelReason: null }), facts);

  /** B: answer for an id that is known. False when it is not. */
  const answerKnown = (frame: RunFrame): boolean => {
    const { commandId, digest } = frame;
    const command = live.get(commandId);
    const entry = journal.find(commandId);
    const known = command?.digest ?? entry?.digest;
    if (known === undefined) return false;
    if (known !== digest && known !== NO_DIGEST) {
      link.send({ type: 'error', code: 'digest_conflict', message: `${commandId} has another digest here` });
      log.warn('digest_conflict', { commandId });
    } else if (command !== undefined) {
      // A tombstone did not know its digest until now.
      if (command.state.kind === 'finished') command.state.result.digest = digest;
      if (frame.resume) {
        reporting.report(command, frame.offsets);
      } else {
        reporting.started(command);
        reporting.repeatResult(command);
      }
    } else if (entry?.phase === 'acked' || entry?.phase === 'finished') {
      link.send({ ...entry.result, digest });
    }
    return true;
  };

  const cancelLive = (command: LiveCommand, reason: string): void => {
    const { state } = command;
    if (state.kind === 'queued') {
      launcher.withdraw(command);
      finish(command, { outcome: 'canceled', reason });
    } else if (state.kind === 'starting') {
      state.cancelReason ??= reason;
    } else if (state.kind === 'running') {
      state.job.stop(reason);
    } else {
      reporting.repeatResult(command);
    }
  };

  const armSweep = (): void => {
    if (sweepTimer === null && live.size > 0 && !isClosed) sweepTimer = setTimeout(sweep, SWEEP_INTERVAL_MS);
  };
  const sweep = (): void => {
    sweepTimer = null;
    const now = performance.now();
    for (const command of [...live.values()]) {
      const { state, streams } = command;
      if (state.kind === 'queued' && now > state.startBefore) {
        launcher.withdraw(command);
        finish(command, { outcome: 'expired', reason: 'expired' });
      } else if (state.kind === 'running' && streams !== null && now - state.since > SPILL_AFTER_MS) {
        for (const name of streamNames) streams[name].spool.spill();
      }
      reporting.resendWhenStalled(command, now);
    }
    armSweep();
  };

  const isSettled = (what: 'running' | 'all'): boolean =>
    launcher.activeCount() === 0 && (what === 'running' || live.size === 0);
  const settle = (): void => {
    const waiting = settleWaiters;
    settleWaiters = waiting.filter((waiter) => !isSettled(waiter.what));
    for (const waiter of waiting) if (!settleWaiters.includes(waiter)) waiter.resolve();
  };

  return {
    run: (frame) => {
      const { commandId, digest } = frame;
      if (answerKnown(frame)) return;
      // Draining is answered like a resume: never seen, never started, to be sent again later.
      if (frame.resume || isDraining) {
        link.send({ type: 'notKnown', commandId });
      } else if (actDigest(frame.act, frame.binding) !== digest) {
        finishUnstarted(commandId, digest, { outcome: 'rejected', reason: 'digest_mismatch' });
      } else if (frame.startWithinMs <= 0) {
        finishUnstarted(commandId, digest, { outcome: 'expired', reason: 'expired' });
      } else {
        const startBefore = performance.now() + frame.startWithinMs;
        launcher.submit(add(commandId, digest, { kind: 'queued', act: frame.act, startBefore }));
      }
    },
    cancel: (commandId, reason) => {
      const command = live.get(commandId);
      const entry = journal.find(commandId);
      if (command !== undefined) cancelLive(command, reason);
      else if (entry?.phase === 'acked' || entry?.phase === 'finished') link.send(entry.result);
      // A tombstone: the run frame may still come.
      else if (entry === undefined) finishUnstarted(commandId, NO_DIGEST, { outcome: 'canceled', reason });
    },
    outputAck: (commandId, stream, nextOffset) => {
      const command = live.get(commandId);
      if (command === undefined || command.streams === null) return;
      command.streams[stream].ack(nextOffset);
      reporting.push(command);
    },
    resultAck: (commandId) => {
      const command = live.get(commandId);
      if (command?.state.kind !== 'finished') return;
      live.delete(commandId);
      if (command.streams !== null) for (const name of streamNames) command.streams[name].spool.discard();
      try {
        journal.acked(commandId);
      } catch (error) {
        log.error('journal_write_failed', { commandId, err: errorText(error) });
      }
      for (const resolve of ackWaiters.get(commandId) ?? []) resolve();
      ackWaiters.delete(commandId);
      settle();
    },
    refuse: (commandId, digest, reason) => {
      if (live.has(commandId) || journal.find(commandId) !== undefined) return;
      finishUnstarted(commandId, digest, { outcome: 'rejected', reason });
    },
    announce: () => reporting.announce(),
    pump: () => {
      for (const command of live.values()) reporting.push(command);
    },
    adopt: (command) => {
      live.set(command.commandId, command);
      armSweep();
    },
    drain: () => {
      isDraining = true;
      for (const { commandId } of launcher.withdrawAll()) {
        live.delete(commandId);
        link.send({ type: 'notKnown', commandId });
      }
    },
    stopAll: (reason) => {
      for (const command of live.values()) {
        if (command.state.kind === 'running' || command.state.kind === 'starting')
          cancelLive(command, reason);
      }
    },
    runningCount: () => launcher.activeCount(),
    settled: (what) =>
      new Promise((resolve) => {
        settleWaiters.push({ what, resolve });
        settle();
      }),
    acked: (commandId) =>
      new Promise((resolve) => {
        if (journal.find(commandId)?.phase === 'acked') resolve();
        else ackWaiters.set(commandId, [...(ackWaiters.get(commandId) ?? []), resolve]);
      }),
    isKnown: (commandId) => live.has(commandId) || journal.find(commandId) !== undefined,
    close: () => {
      isClosed = true;
      launcher.close();
      reporting.close();
      if (sweepTimer !== null) clearTimeout(sweepTimer);
      for (const { streams } of live.values()) {
        if (streams !== null) for (const name of streamNames) streams[name].spool.close();
      }
    },
  };
}
