/**
 * The Python agent as the scenarios of `test/agent` need it: always a process of its own, told its options as JSON.
 */
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { Agent, AgentOptions } from '../../agent/agent.ts';
import { type AgentProgram, createFixture, exited, quickBackoff } from '../agent/agent-fixture.ts';
import { waitFor } from '../support/scripted-bridge.ts';

const pathTo = (file: string): string => fileURLToPath(new URL(file, import.meta.url));
/** Other interpreters than the first one on the path: `TEST_PYTHON=python3.8`. */
export const python = process.env.TEST_PYTHON ?? 'python3';
export const agentFile = pathTo('../../agent-python/steelthread_agent.py');
const configuredAgent = pathTo('./configured_agent.py');

/** An agent that has not ended this long after its drain deadline hangs, milliseconds. */
const HANG_MS = 20_000;

/** Leave no compiled files in the source tree. */
export const pythonEnvironment = { PYTHONDONTWRITEBYTECODE: '1' };

const optionsOf = (given: Partial<AgentOptions>, defaults: { home: string; url: string }): object => ({
  url: given.url ?? defaults.url,
  home: given.home ?? defaults.home,
  metrics: given.metrics ?? false,
  backoff: { ...quickBackoff, ...given.backoff },
  kill: [given.kill?.graceMs ?? 200, given.kill?.deadlineMs ?? 10_000],
  cgroups: given.cgroups ?? 'auto',
  ...(given.agentId === undefined ? {} : { agent_id: given.agentId }),
  ...(given.token === undefined ? {} : { token: given.token }),
  ...(given.workDir === undefined ? {} : { work_dir: given.workDir }),
  ...(given.maxParallel === undefined ? {} : { max_parallel: given.maxParallel }),
  ...(given.pingIntervalMs === undefined ? {} : { ping_interval_ms: given.pingIntervalMs }),
  ...(given.environment === undefined ? {} : { environment: given.environment }),
});

/** Starts one; what it writes to standard error is the reason of a refused start. */
export function startPythonAgent(
  given: Partial<AgentOptions>,
  defaults: { home: string; url: string },
): Agent {
  const child = spawn(python, [configuredAgent, JSON.stringify(optionsOf(given, defaults))], {
    env: {
      ...process.env,
      ...pythonEnvironment,
      STEELTHREAD_URL: defaults.url,
      STEELTHREAD_AGENT_HOME: defaults.home,
    },
    stdio: ['pipe', 'ignore', 'pipe'],
  });
  let text = '';
  child.stderr.on('data', (bytes: Buffer) => {
    text += bytes.toString();
  });
  child.stdin.on('error', () => {});
  const done = exited(child).then((end) => {
    if (end !== 0) throw new Error(`the agent ended with ${end}: ${text}`);
  });
  done.catch(() => {});
  const ready = Promise.race([
    waitFor('the agent to connect', () => text.includes('"event": "connected"') || child.exitCode !== null),
    done,
  ]).then(async () => {
    if (!text.includes('"event": "connected"')) await done;
  });
  ready.catch(() => {});
  return {
    ready,
    done,
    close: async ({ drainMs } = {}) => {
      child.stdin.write(`close ${drainMs ?? 20_000}\n`);
      const giveUp = setTimeout(() => child.kill('SIGKILL'), HANG_MS + (drainMs ?? 20_000));
      await done.catch(() => {});
      clearTimeout(giveUp);
    },
    hurry: () => void child.kill('SIGINT'),
  };
}

export const pythonAgent: AgentProgram = {
  createFixture: async (options) => {
    const fixture = await createFixture(options);
    const { home, bridge } = fixture;
    const agents: Agent[] = [];
    return {
      ...fixture,
      agent: (given = {}) => {
        const agent = startPythonAgent(given, { home, url: bridge.url });
        agents.push(agent);
        return agent;
      },
      agentProcess: (program, environment = {}) =>
        fixture.agentProcess(program ?? [python, agentFile, '--debug'], {
          ...pythonEnvironment,
          ...environment,
        }),
      close: async () => {
        await Promise.all(agents.map((agent) => agent.close({ drainMs: 0 })));
        await fixture.close();
      },
    };
  },
  stallingProgram: [python, configuredAgent, JSON.stringify({ stalling: true })],
};
