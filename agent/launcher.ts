/**
 * From the agent's queue to the end of the process: INTENT, start, STARTED, wait.
 *
 * Invariants:
 *  B.  (protocol) The process is made only after the flush of its INTENT.
 *  L1. At most `maxParallel` commands are past the queue; the others start in the order they came.
 *  L2. Every wait (disk, process) comes back to look at the state anew: a cancel may have come meanwhile.
 */
import type { Act } from '../contracts/agent-protocol.ts';
import type { Executor, RunningJob, StartOutcome } from './executor.ts';
import type { Journal } from './journal.ts';
import { createStreams, type LiveCommand, type ResultFacts, type StreamDeps } from './live-command.ts';
import { type AgentLog, errorText } from './log.ts';
import { readBootId } from './proc.ts';
import type { Reporting } from './reporting.ts';

export interface LauncherDeps {
  journal: Journal;
  executor: Executor;
  reporting: Reporting;
  streams: StreamDeps;
  maxParallel: number;
  log: AgentLog;
  /** The command has ended; its slot is free already. */
  onEnd(command: LiveCommand, facts: ResultFacts): void;
}

export interface Launcher {
  /** Start a queued command, or keep it until there is room. */
  submit(command: LiveCommand): void;
  /** Take a command out of the queue. */
  withdraw(command: LiveCommand): void;
  /** Empty the queue. */
  withdrawAll(): LiveCommand[];
  /** Commands past the queue. */
  activeCount(): number;
  /** Start nothing any more, and report nothing. */
  close(): void;
}

export function createLauncher(deps: LauncherDeps): Launcher {
  const { journal, executor, reporting, log, onEnd } = deps;
  const bootId = readBootId();
  const queue: LiveCommand[] = [];
  let activeCount = 0;
  let isClosed = false;

  const end = (command: LiveCommand, facts: ResultFacts): void => {
    activeCount -= 1;
    if (isClosed) return;
    onEnd(command, facts);
    startQueued();
  };
  const journalFailed = (command: LiveCommand, error: unknown): void =>
    log.error('journal_write_failed', { commandId: command.commandId, err: errorText(error) });

  const begin = (command: LiveCommand): void => {
    if (command.state.kind !== 'queued') return;
    const { act, startBefore } = command.state;
    activeCount += 1;
    command.state = { kind: 'starting', cancelReason: null };
    const refuse = (error: unknown): void => {
      journalFailed(command, error);
      end(command, { outcome: 'rejected', reason: 'journal_unavailable' });
    };
    try {
      journal.intent(command.commandId, command.digest);
    } catch (error) {
      refuse(error);
      return;
    }
    // Commands that arrive together share one flush.
    journal.flush().then(() => startProcess(command, act, startBefore), refuse);
  };

  const startProcess = (command: LiveCommand, act: Act, startBefore: number): void => {
    if (command.state.kind !== 'starting') return;
    const { cancelReason } = command.state;
    if (cancelReason !== null) return end(command, { outcome: 'canceled', reason: cancelReason });
    if (isClosed || performance.now() > startBefore) {
      return end(command, { outcome: 'expired', reason: 'expired' });
    }
    const streams = createStreams(deps.streams, command.commandId, act.outputCapBytes);
    command.streams = streams;
    const outcome = executor.start({
      commandId: command.commandId,
      act,
      onOutput: (stream, bytes) => {
        streams[stream].spool.append(bytes);
        streams[stream].pump();
      },
    });
    const proceed = (result: StartOutcome): void => {
      if (result.kind === 'rejected') end(command, { outcome: 'rejected', reason: result.reason });
      else processStarted(command, result);
    };
    if (outcome instanceof Promise) void outcome.then(proceed);
    else proceed(outcome);
  };

  const processStarted = (command: LiveCommand, job: RunningJob): void => {
    const startedAt = new Date().toISOString();
    const since = performance.now();
    const cancelReason = command.state.kind === 'starting' ? command.state.cancelReason : null;
    const { pid, processStart } = job;
    command.state = { kind: 'running', job, since };
    command.started = { pid, startedAt };
    try {
      journal.started(command.commandId, { pid, processStart, bootId, startedAt });
    } catch (error) {
      // It runs already. INTENT is on disk, so the worst a restart can say is `unknown`.
      journalFailed(command, error);
    }
    log.info('command_started', { commandId: command.commandId, pid });
    reporting.started(command);
    if (cancelReason !== null) job.stop(cancelReason);
    void job.done.then((facts) =>
      end(command, { ...facts, startedAt, durationMs: Math.round(performance.now() - since) }),
    );
  };

  const startQueued = (): void => {
    while (activeCount < deps.maxParallel && !isClosed) {
      const next = queue.shift();
      if (next === undefined) return;
      begin(next);
    }
  };

  return {
    submit: (command) => {
      queue.push(command);
      startQueued();
    },
    withdraw: (command) => {
      const index = queue.indexOf(command);
      if (index >= 0) queue.splice(index, 1);
    },
    withdrawAll: () => queue.splice(0),
    activeCount: () => activeCount,
    close: () => {
      isClosed = true;
    },
  };
}
