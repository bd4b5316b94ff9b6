/** The long-running processes of an installation; each reads its configuration from the environment. */
import type { Command } from 'commander';

export function addServiceCommands(program: Command): void {
  program
    .command('api')
    .description('Run the API process (HTTP, events, agent sockets)')
    .action(async () => {
      await import('../../api/main.ts');
    });
  program
    .command('worker')
    .description('Run the worker process (workflows, activities, duties)')
    .action(async () => {
      await import('../../worker/main.ts');
    });
}
