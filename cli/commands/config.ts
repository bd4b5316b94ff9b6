import type { Command } from 'commander';
import { writeConfigDocs } from '../../stack/generate-config-docs.ts';

export function addConfigCommand(program: Command): void {
  const config = program.command('config').description('Configuration by environment');
  config
    .command('docs')
    .description('Write .env.example and docs/reference/configuration.md from the table of variables')
    .action(() => {
      for (const file of writeConfigDocs()) process.stdout.write(`${file}\n`);
    });
}
