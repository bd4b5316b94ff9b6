/** Dialect D: flat frames both ways. */
import { type Dialect, elevation, now } from './dialect.ts';

export const flatDialect: Dialect = {
  name: 'flat',
  canElevate: false,
  namesShell: false,
  commandFrame: (command) => ({
    type: 'execute_command',
    id: command.commandId,
    command_id: command.commandId,
    command: command.script,
    timeout: command.timeoutSeconds,
    working_directory: command.workingDirectory,
    ...elevation(command),
    timestamp: now(),
  }),
};
