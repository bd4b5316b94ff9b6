/** The API process. */
import { runService } from '../run-service.ts';
import { letHeapGrow } from './heap-growth.ts';
import { startApi } from './server.ts';

letHeapGrow();
await runService('api', async (config, log) => {
  const api = await startApi(config, log);
  if (api.admin.created && api.admin.generatedPassword !== null) {
    // Past the logger on purpose: it would redact the one line that may show it.
    const { username, generatedPassword } = api.admin;
    process.stdout.write(
      `${JSON.stringify({ event: 'admin_created', username, password: generatedPassword })}\n`,
    );
  }
  log.info({ event: 'api_ready', addresses: api.addresses });
  return api;
});
