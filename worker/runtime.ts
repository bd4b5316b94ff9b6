/**
 * The native runtime and its connection.
 *
 * A connect that fails tears the runtime down with it, so every attempt installs it again. Signals of the process are
 * left to the composition root: the runtime's own handlers would stop the worker before its turn.
 */
import { setTimeout as delay } from 'node:timers/promises';
import {
  DefaultLogger,
  type LogEntry,
  makeTelemetryFilterString,
  NativeConnection,
  Runtime,
} from '@temporalio/worker';
import type { Log } from '../domain/deps.ts';
import type { TemporalOptions } from '../temporal/options.ts';

/** Pause between attempts to connect, milliseconds. */
const CONNECT_RETRY_MS = 1_000;

const levels = { TRACE: 'debug', DEBUG: 'debug', INFO: 'info', WARN: 'warn', ERROR: 'error' } as const;

/** Connect, however long Temporal is away. @returns undefined when `signal` aborted first */
export async function connectNative(
  options: TemporalOptions,
  { log, signal }: { log: Log; signal: AbortSignal },
): Promise<NativeConnection | undefined> {
  for (let attempt = 1; !signal.aborted; attempt++) {
    installRuntime(log);
    try {
      return await NativeConnection.connect({
        address: options.address,
        ...(options.tls === undefined ? {} : { tls: options.tls }),
        ...(options.apiKey === undefined ? {} : { apiKey: options.apiKey }),
        ...(isLoopback(options.address) ? { grpcCompression: { codec: 'none' } } : {}),
      });
    } catch (error) {
      if (attempt === 1)
        log.warn({ event: 'worker_waits_for_temporal', address: options.address, err: error });
    }
    await delay(CONNECT_RETRY_MS, undefined, { signal }).catch(() => undefined);
  }
  return undefined;
}

/** Compressing costs CPU and saves nothing where no wire is. */
function isLoopback(address: string): boolean {
  return /^(localhost|127\.\d+\.\d+\.\d+|\[::1\])(:|$)/.test(address);
}

function installRuntime(log: Log): void {
  try {
    Runtime.install({
      shutdownSignals: [],
      logger: new DefaultLogger('INFO', (entry) => forward(log, entry)),
      // The native part would otherwise write lines of its own between ours.
      telemetryOptions: {
        logging: { filter: makeTelemetryFilterString({ core: 'WARN', other: 'ERROR' }), forward: {} },
      },
    });
  } catch (error) {
    // Installed by an earlier attempt that is still alive.
    if (!(error instanceof Error) || error.name !== 'IllegalStateError') throw error;
  }
}

/** The SDK's INFO is its life cycle, which is our debug. */
function forward(log: Log, { level, message, meta }: LogEntry): void {
  const name = levels[level] === 'info' ? 'debug' : levels[level];
  log[name]({ ...meta, event: 'temporal_sdk', message });
}
