/**
 * Real agents, many in one process: journals, shells and the kill rule of each its own. Environment: AGENTS_URL,
 * AGENTS_HOME, AGENTS_FILE (JSON: [{agentId, agentToken}]).
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createAgent } from '../../agent/agent.ts';
import { wholeEnvironment } from '../../config.ts';

/** They must be back soon after the API is. */
const backoff = { baseMs: 200, capMs: 1_000 };

const env = wholeEnvironment();
const identities = JSON.parse(readFileSync(env.AGENTS_FILE ?? '', 'utf8')) as {
  agentId: string;
  agentToken: string;
}[];
const agents = identities.map(({ agentId, agentToken }) =>
  createAgent({
    url: env.AGENTS_URL ?? '',
    agentId,
    token: agentToken,
    home: join(env.AGENTS_HOME ?? '', agentId),
    metrics: false,
    cgroups: 'off',
    backoff,
  }),
);
process.on('SIGTERM', () => {
  void Promise.all(agents.map((agent) => agent.close({ drainMs: 0 }))).then(() => process.exit(0));
});
await Promise.all(agents.map((agent) => agent.ready));
console.log('agents_ready');
