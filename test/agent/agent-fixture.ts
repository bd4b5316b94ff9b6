/**
 * Agents for the tests of this folder: in this process, or as a process of their own that can be killed.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Agent, type AgentOptions, createAgent } from '../../agent/agent.ts';
import { createCommandCgroups } from '../../agent/cgroup.ts';
import { type BridgeOptions, type ScriptedBridge, startScriptedBridge } from '../support/scripted-bridge.ts';

/** Quick reconnects, so that tests wait for conditions and not for backoff. */
export const quickBackoff = { baseMs: 20, capMs: 50, refusedMs: 50, supersededMs: 50 };

/** A kind of agent, for scenarios that every kind must pass. */
export interface AgentProgram {
  createFixture(options?: BridgeOptions): Promise<Fixture>;
  /** For `agentProcess`: starts the process of a command and then never returns, between INTENT and STARTED. */
  stallingProgram: string[];
}

export interface Fixture {
  directory: string;
  home: string;
  bridge: ScriptedBridge;
  agent(options?: Partial<AgentOptions>): Agent;
  /** `steelthread agent` as a process of its own (or another program with its environment). */
  agentProcess(program?: string[], environment?: Record<string, string>): ChildProcess & { log(): string };
  close(): Promise<void>;
}

/** A temporary directory, a bridge, and agents that are all gone after `close`. */
export async function createFixture(options: BridgeOptions = {}): Promise<Fixture> {
  const directory = mkdtempSync(join(tmpdir(), 'steelthread-agent-'));
  const home = join(directory, 'home');
  const bridge = await startScriptedBridge(options);
  const agents: Agent[] = [];
  const children: ChildProcess[] = [];
  return {
    directory,
    home,
    bridge,
    agent: (agentOptions = {}) => {
      const agent = createAgent({
        url: bridge.url,
        agentId: 'test-agent',
        token: 'test-token',
        home,
        metrics: false,
        backoff: quickBackoff,
        kill: { graceMs: 200, deadlineMs: 10_000 },
        ...agentOptions,
      });
      agents.push(agent);
      return agent;
    },
    agentProcess: (program, environment = {}) => {
      const entry = fileURLToPath(new URL('../../agent/main.ts', import.meta.url));
      const [file = process.execPath, ...args] = program ?? [
        process.execPath,
        '--import',
        'tsx',
        entry,
        '--debug',
      ];
      const child = spawn(file, args, {
        env: {
          PATH: process.env.PATH,
          STEELTHREAD_URL: bridge.url,
          STEELTHREAD_AGENT_HOME: home,
          STEELTHREAD_AGENT_ID: 'test-agent',
          STEELTHREAD_AGENT_TOKEN: 'test-token',
          ...environment,
        },
        stdio: ['ignore', 'pipe', 'pipe'],
      });
      let text = '';
      child.stdout?.on('data', (bytes: Buffer) => {
        text += bytes.toString();
      });
      child.stderr?.on('data', (bytes: Buffer) => {
        text += bytes.toString();
      });
      children.push(child);
      return Object.assign(child, { log: () => text });
    },
    close: async () => {
      await Promise.all(agents.map((agent) => agent.close({ drainMs: 0 })));
      for (const child of children) if (child.exitCode === null) child.kill('SIGKILL');
      await Promise.all(children.map(exited));
      await bridge.close();
      // A killed agent leaves its empty cgroup to the next one.
      createCommandCgroups(home)?.close();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

/** Lines of a file, none when it does not exist. */
export function linesOf(path: string): string[] {
  try {
    return readFileSync(path, 'utf8').split('\n').filter(Boolean);
  } catch {
    return [];
  }
}

/** Resolves with the exit code, or the name of the signal. */
export const exited = (child: ChildProcess): Promise<number | string | null> =>
  child.exitCode !== null || child.signalCode !== null
    ? Promise.resolve(child.exitCode ?? child.signalCode)
    : new Promise((resolve) => child.once('exit', (code, signal) => resolve(code ?? signal)));

/**
 * The agent as the one file that machines are given, for scenarios that start it many times: from source, each start
 * would compile it anew.
 *
 * @param file where `buildAgentBundle` has written it
 */
export const bundledAgent = (file: string): AgentProgram => ({
  ...javascriptAgent,
  createFixture: async (options) => {
    const fixture = await createFixture(options);
    return {
      ...fixture,
      agentProcess: (program, environment) =>
        fixture.agentProcess(program ?? [process.execPath, file, '--debug'], environment),
    };
  },
});

export const javascriptAgent: AgentProgram = {
  createFixture,
  stallingProgram: [
    process.execPath,
    '--import',
    'tsx',
    fileURLToPath(new URL('./stalling-agent.ts', import.meta.url)),
  ],
};
