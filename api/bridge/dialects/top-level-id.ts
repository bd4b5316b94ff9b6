/** Dialect C: as B, but it heeds `run_as_admin`, and its answer has the id beside `data`. */
import { commandData, type Dialect, now } from './dialect.ts';

export const topLevelIdDialect: Dialect = {
  name: 'top_level_id',
  canElevate: true,
  namesShell: false,
  commandFrame: (command) => ({
    type: 'command',
    command_id: command.commandId,
    data: { ...commandData(command), run_as_admin: command.elevated },
    timestamp: now(),
  }),
};
