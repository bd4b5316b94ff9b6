/** `steelthread …`: the commands are in `commands/`, one file each. */
import { Command, CommanderError } from 'commander';
import { ConfigError, packageVersion } from '../config.ts';
import { addAgentCommand } from './commands/agent.ts';
import { addAuditCommand } from './commands/audit.ts';
import { addConfigCommand } from './commands/config.ts';
import { addDemoCommand } from './commands/demo.ts';
import { addDevCommand } from './commands/dev.ts';
import { addEnrolTokenCommand } from './commands/enrol-token.ts';
import { addMigrateCommand } from './commands/migrate.ts';
import { addRouteCommands } from './commands/routes.ts';
import { addServiceCommands } from './commands/services.ts';
import { addUserCommand } from './commands/user.ts';
import { printable } from './demo/printable.ts';
import { CommandError, exitCodes, exitCodesHelp } from './exit-codes.ts';

const program = new Command('steelthread')
  .description('Durable, human-approved command execution on fleets of machines.')
  .configureHelp({ showGlobalOptions: false, sortSubcommands: false })
  .showSuggestionAfterError()
  .version(packageVersion(), '-V, --version', 'print the version')
  .addHelpText('after', exitCodesHelp)
  .enablePositionalOptions()
  .exitOverride();

for (const add of [
  addDevCommand,
  addDemoCommand,
  addServiceCommands,
  addAgentCommand,
  addEnrolTokenCommand,
  addMigrateCommand,
  addAuditCommand,
  addUserCommand,
  addConfigCommand,
  addRouteCommands,
]) {
  add(program);
}

pointToHelp(program, program.name());

// Whoever reads may have seen enough, as in `… | head`.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error;
  process.exit(exitCodes.notRead);
});
// What is wrong then goes unread: the command ends as it would have.
process.stderr.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error;
});

process.exitCode = await run();

/** After a wrong command line each command names its own help. */
function pointToHelp(command: Command, path: string): void {
  const tells = command.commands.length > 0 ? 'lists the commands' : 'lists the options';
  command.showHelpAfterError(`(${path} --help ${tells})`);
  for (const child of command.commands) pointToHelp(child, `${path} ${child.name()}`);
}

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
  // A server that was asked may have chosen the words.
  process.stderr.write(`${printable(message)}\n`);
  return code;
}
