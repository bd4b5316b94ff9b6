/** The API process. */
import { ConfigError, loadConfig, type ServiceConfig } from '../config.ts';
import { createLogger } from '../log.ts';
import { startApi } from './server.ts';

/** A stop that takes longer than this ends the process, milliseconds. */
const STOP_DEADLINE_MS = 25_000;

await main(readConfig());

function readConfig(): ServiceConfig {
  try {
    return loadConfig('api');
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    process.stderr.write(`${error.message}\n`);
    process.exit(2);
  }
}

async function main(config: ServiceConfig): Promise<void> {
  const log = createLogger({ name: 'api', level: config.logLevel, format: config.logFormat });
  for (const warning of config.warnings) log.warn({ event: 'config_warning', warning });
  const stopSignal = new Promise<string>((resolve) => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => resolve(signal));
  });
  const api = await startApi(config, log);
  if (api.admin.created && api.admin.generatedPassword !== null) {
    // Past the logger on purpose: it would redact the one line that may show it.
    const { username, generatedPassword } = api.admin;
    process.stdout.write(
      `${JSON.stringify({ event: 'admin_created', username, password: generatedPassword })}\n`,
    );
  }
  log.info({ event: 'api_ready', addresses: api.addresses });

  log.info({ event: 'api_stopping', signal: await stopSignal });
  const deadline = setTimeout(() => {
    log.error({ event: 'api_stop_timed_out', afterMs: STOP_DEADLINE_MS });
    process.exit(1);
  }, STOP_DEADLINE_MS);
  await api.close();
  clearTimeout(deadline);
  log.info({ event: 'api_stopped' });
}
