/** The worker process. */
import { ConfigError, loadConfig, type ServiceConfig } from '../config.ts';
import { createLogger } from '../log.ts';
import { startWorkerService } from './service.ts';

/** A stop that takes longer than this ends the process. Milliseconds; above the worker's own force time. */
const STOP_DEADLINE_MS = 25_000;

await main(readConfig());

function readConfig(): ServiceConfig {
  try {
    return loadConfig('worker');
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    process.stderr.write(`${error.message}\n`);
    process.exit(2);
  }
}

async function main(config: ServiceConfig): Promise<void> {
  const log = createLogger({ name: 'worker', level: config.logLevel, format: config.logFormat });
  for (const warning of config.warnings) log.warn({ event: 'config_warning', warning });
  const stopSignal = new Promise<string>((resolve) => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => resolve(signal));
  });
  const worker = startWorkerService(config, log);
  // Without its workflow code there is nothing to serve: an unhandled rejection would say less.
  worker.ready.catch((error: unknown) => {
    log.error({ event: 'worker_start_failed', error });
    process.exit(1);
  });

  log.info({ event: 'worker_stopping', signal: await stopSignal });
  const deadline = setTimeout(() => {
    log.error({ event: 'worker_stop_timed_out', afterMs: STOP_DEADLINE_MS });
    process.exit(1);
  }, STOP_DEADLINE_MS);
  await worker.close();
  clearTimeout(deadline);
  log.info({ event: 'worker_stopped' });
}
