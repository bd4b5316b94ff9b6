/** `steelthread …`: the commands are in `commands/`, one file each. */
import { Command, CommanderError } from 'commander';
import { ConfigError } from '../config.ts';
import { agentCommand } from './commands/agent.ts';
import { auditCommand } from './commands/audit.ts';
import { configCommand } from './commands/config.ts';
import { demoCommand } from './commands/demo.ts';
import { devCommand } from './commands/dev.ts';
import { enrolTokenCommand } from './commands/enrol-token.ts';
import { migrateCommand } from './commands/migrate.ts';
import { serviceCommands } from './commands/services.ts';
import { CommandError, exitCodes, exitCodesHelp } from './exit-codes.ts';

const program = new Command('steelthread')
  .description('Durable, human-approved command execution on fleets of machines.')
  .configureHelp({ showGlobalOptions: false, sortSubcommands: false })
  .showSuggestionAfterError()
  .showHelpAfterError('(steelthread --help lists the commands)')
  .addHelpText('after', exitCodesHelp)
  .enablePositionalOptions()
  .exitOverride();

for (const command of [
  devCommand(),
  demoCommand(),
  ...serviceCommands(),
  agentCommand(),
  enrolTokenCommand(),
  migrateCommand(),
  auditCommand(),
  configCommand(),
]) {
  program.addCommand(command.copyInheritedSettings(program));
}

process.exitCode = await run();

async function run(): Promise<number | undefined> {
  try {
    await program.parseAsync();
    return undefined;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? exitCodes.ok : exitCodes.usage;
    if (error instanceof ConfigError) return fail(error.message, exitCodes.usage);
    if (error instanceof CommandError) return fail(error.message, error.exitCode);
    return fail(error instanceof Error ? (error.stack ?? error.message) : String(error), exitCodes.failed);
  }
}

function fail(message: string, code: number): number {
  process.stderr.write(`${message}\n`);
  return code;
}
