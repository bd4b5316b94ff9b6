/**
 * What this machine offers: the executor with everything it needs here.
 */
import { join } from 'node:path';
import { findCapabilities } from './capabilities.ts';
import { type CommandCgroups, createCommandCgroups } from './cgroup.ts';
import { DEFAULT_PATH } from './environment.ts';
import { createExecutor, type Executor } from './executor.ts';
import type { KillOptions } from './kill.ts';
import type { AgentLog } from './log.ts';
import { createPipeStock } from './pipes.ts';
import { findShells } from './shells.ts';

export interface MachineOptions {
  home: string;
  workDir?: string;
  executor?: Executor;
  cgroups?: 'auto' | 'off';
  kill?: Pick<KillOptions, 'graceMs' | 'deadlineMs'>;
  environment?: Readonly<Record<string, string | undefined>>;
}

export interface Machine {
  executor: Executor;
  capabilities: string[];
  shells: string[];
  cgroups: CommandCgroups | null;
  /** The agent's own, of which commands and terminals get a few names. */
  environment: Readonly<Record<string, string | undefined>>;
  close(): void;
}

/** The executor with what it needs of this machine, or the one that was given. */
export async function createMachine(options: MachineOptions, log: AgentLog): Promise<Machine> {
  const environment = options.environment ?? process.env;
  const shells = findShells(environment.PATH ?? '');
  if (options.executor !== undefined) {
    const { executor } = options;
    return {
      executor,
      capabilities: ['shell', 'argv'],
      shells: [...shells.keys()],
      cgroups: null,
      environment,
      close: () => {},
    };
  }
  const cgroups = options.cgroups === 'off' ? null : createCommandCgroups(options.home);
  const found = await findCapabilities({
    hasShell: shells.size > 0,
    hasCgroups: cgroups !== null,
    searchPath: environment.PATH ?? DEFAULT_PATH,
  });
  const pipes = createPipeStock(join(options.home, 'pipes'));
  await pipes.ready;
  return {
    executor: createExecutor({
      home: options.home,
      workDir: options.workDir,
      shells,
      capabilities: found,
      cgroups,
      pipes,
      ownEnvironment: environment,
      log,
      kill: options.kill,
    }),
    capabilities: [...found],
    shells: [...shells.keys()],
    cgroups,
    environment,
    close: () => {
      pipes.close();
      cgroups?.close();
    },
  };
}
