/** Dialect A: the generated agent. It registers first, is asked by `powershell_command` and answers by request id. */
import { commandData, type Dialect, elevation, now, REQUEST_ID_PREFIX } from './dialect.ts';

export const requestIdDialect: Dialect = {
  name: 'request_id',
  canElevate: false,
  namesShell: true,
  commandFrame(command) {
    // Its frame for PowerShell cannot name another shell; the one that can is answered in another shape.
    if (command.shell === 'cmd') return { type: 'command', data: commandData(command), timestamp: now() };
    return {
      type: 'powershell_command',
      request_id: `${REQUEST_ID_PREFIX}${command.commandId}`,
      command_id: command.commandId,
      command: command.script,
      timeout: command.timeoutSeconds,
      working_directory: command.workingDirectory,
      ...elevation(command),
      timestamp: now(),
    };
  },
};
