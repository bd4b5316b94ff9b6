/**
 * The agent program: `steelthread agent [flags]`, or the bundled file with the same flags.
 *
 * SIGTERM or SIGINT drains (running commands may finish for DRAIN_DEADLINE_MS, then they are killed and reported);
 * a second signal kills them at once. Exit codes: 0 stopped, 1 could not start, 2 bad configuration.
 */
import { createAgent } from './agent.ts';
import { agentUsage, parseAgentConfig } from './config.ts';
import { enrol } from './enrol.ts';
import { writeIdentity } from './home.ts';
import { createAgentLog, errorText } from './log.ts';

async function main(): Promise<number> {
  const args = process.argv.slice(2);
  const result = parseAgentConfig(args[0] === 'agent' ? args.slice(1) : args, process.env);
  if (result.ok === 'help') {
    process.stdout.write(agentUsage);
    return 0;
  }
  if (!result.ok) {
    process.stderr.write(
      `The agent cannot start:\n${result.problems.map((text) => `  - ${text}\n`).join('')}`,
    );
    return 2;
  }
  const { config } = result;
  const log = createAgentLog({ debug: config.debug });
  let identity = config.identity;
  if ('enrolmentToken' in identity) {
    identity = await enrol({ url: config.url, name: config.name, ...identity });
    writeIdentity(config.home, identity);
    log.info('enrolled', { agentId: identity.agentId });
  }
  const agent = createAgent({
    url: config.url,
    agentId: identity.agentId,
    token: identity.agentToken,
    home: config.home,
    name: config.name,
    workDir: config.workDir,
    delivery: config.delivery,
    maxParallel: config.maxParallel,
    ...(config.terminals !== undefined && { terminals: config.terminals }),
    temporal: config.temporal,
    log,
  });
  let signals = 0;
  const onSignal = (name: NodeJS.Signals): void => {
    signals += 1;
    log.info('signal', { name, count: signals });
    if (signals === 1) void agent.close();
    else agent.hurry();
  };
  process.on('SIGTERM', onSignal);
  process.on('SIGINT', onSignal);
  await agent.done;
  return 0;
}

main().then(
  (code) => process.exit(code),
  (error: unknown) => {
    createAgentLog().error('agent_failed', { err: errorText(error) });
    process.exit(1);
  },
);
