/** How the ledger tells that an agent with an address was not reached, or gave no usable answer. */
import type { CommandState } from '../../contracts/command-states.ts';

/** Its reasons begin so. */
export const URL_FAILURE_PREFIX = 'url_agent: ';

interface Ended {
  state: CommandState;
  reason: string | null;
}

/** Why, or null where it answered. */
export const urlFailureOf = ({ reason }: Ended): string | null =>
  reason?.startsWith(URL_FAILURE_PREFIX) ? reason.slice(URL_FAILURE_PREFIX.length) : null;

/** It was not reached, or refused: nothing happened. */
export const isNotForwarded = (command: Ended): boolean =>
  command.state === 'rejected' && urlFailureOf(command) !== null;
