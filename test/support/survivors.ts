/** Processes of a command, found by the mark that its environment carries; the kill rule must leave none. */
import { readdirSync, readFileSync } from 'node:fs';

/** Process ids whose environment holds this command's id; empty where there is no /proc. */
export function survivorsOf(commandId: string): number[] {
  const mark = `STEELTHREAD_COMMAND_ID=${commandId}\0`;
  return readdirSync('/proc').flatMap((name) => {
    if (!/^\d+$/.test(name)) return [];
    try {
      return readFileSync(`/proc/${name}/environ`, 'latin1').includes(mark) ? [Number(name)] : [];
    } catch {
      return []; // It ended while we looked.
    }
  });
}

/** A command that leaves grandchildren which ignore TERM, one of them in a session of its own, and never ends. */
export const stubborn =
  `setsid sh -c 'trap "" TERM; while :; do sleep 0.2; done' & ` +
  `sh -c 'trap "" TERM; while :; do sleep 0.2; done' & wait`;
