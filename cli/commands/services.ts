/** The long-running processes of an installation; each reads its configuration from the environment. */
import { Command } from 'commander';

export function serviceCommands(): Command[] {
  return [
    new Command('api').description('Run the API process (HTTP, events, agent sockets)').action(async () => {
      await import('../../api/main.ts');
    }),
    new Command('worker')
      .description('Run the worker process (workflows, activities, duties)')
      .action(async () => {
        await import('../../worker/main.ts');
      }),
  ];
}
