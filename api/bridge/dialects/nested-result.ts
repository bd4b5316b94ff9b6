/** Dialect B: `command` with everything in `data`; the answer is in `data.result`. */
import { commandData, type Dialect, now } from './dialect.ts';

export const nestedResultDialect: Dialect = {
  name: 'nested_result',
  canElevate: false,
  namesShell: false,
  commandFrame: (command) => ({ type: 'command', data: commandData(command), timestamp: now() }),
};
