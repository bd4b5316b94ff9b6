/**
 * The life of a service process: configuration, log, start, a signal, an orderly stop.
 *
 * Exit codes: 0 stopped, 1 could not start or did not stop in time, 2 bad configuration.
 */
import { ConfigError, loadConfig, type ServiceConfig } from './config.ts';
import { createLogger, type Logger, redactText } from './log.ts';

/** A stop that takes longer than this ends the process, milliseconds; above every deadline of its parts. */
const STOP_DEADLINE_MS = 25_000;

export interface Service {
  /** Settles when the service serves; what it rejects with ends the process. Absent: it serves already. */
  ready?: Promise<void>;
  /** Idempotent. */
  close(): Promise<void>;
}

/** Run a service until SIGTERM or SIGINT. Its name is in its log lines and events (`api_ready`, `api_stopped`). */
export async function runService(
  name: 'api' | 'worker',
  start: (config: ServiceConfig, log: Logger) => Promise<Service> | Service,
): Promise<void> {
  const config = readConfig(name);
  const log = createLogger({ name, level: config.logLevel, format: config.logFormat });
  for (const warning of config.warnings) log.warn({ event: 'config_warning', warning });
  const stopSignal = new Promise<string>((resolve) => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => resolve(signal));
  });
  const failToStart = (err: unknown): never => {
    log.debug({ event: `${name}_start_failed`, err });
    process.stderr.write(`The ${name} cannot start: ${redactText(reasonOf(err))}\n`);
    process.exit(1);
  };

  const starting = async (): Promise<Service> => start(config, log);
  const service = await starting().catch(failToStart);
  service.ready?.catch(failToStart);

  log.info({ event: `${name}_stopping`, signal: await stopSignal });
  const deadline = setTimeout(() => {
    log.error({ event: `${name}_stop_timed_out`, afterMs: STOP_DEADLINE_MS });
    process.exit(1);
  }, STOP_DEADLINE_MS);
  await service.close();
  clearTimeout(deadline);
  log.info({ event: `${name}_stopped` });
}

function readConfig(name: 'api' | 'worker'): ServiceConfig {
  try {
    return loadConfig(name);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    process.stderr.write(`${error.message}\n`);
    process.exit(2);
  }
}

/** One sentence. Node gives an error without words for a host with several addresses: the words are inside. */
export function reasonOf(error: unknown): string {
  if (error instanceof AggregateError && error.message === '') return error.errors.map(reasonOf).join('; ');
  return error instanceof Error ? error.message : String(error);
}
