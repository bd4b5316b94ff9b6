import type { Command } from 'commander';

/** The agent reads its own flags and environment: `steelthread agent --help` is its help. */
export function addAgentCommand(program: Command): void {
  program
    .command('agent')
    .description('Run the agent: approved commands on this machine (flags: steelthread agent --help)')
    .helpOption(false)
    .allowUnknownOption()
    .allowExcessArguments()
    .argument('[flags...]')
    .passThroughOptions()
    .action(async () => {
      await import('../../agent/main.ts');
    });
}
