/** A command and the beginning of its output in the words of dex clients. */
import { isFinalCommandState } from '../../../contracts/command-states.ts';
import type { CommandView } from '../../../contracts/commands.ts';
import type {
  DexCommandResponse,
  DexCommandResult,
  DexExecuted,
  DexSent,
} from '../../../contracts/families/dex/commands.ts';
import type { OutputHeads } from '../../../domain/commands/output-heads.ts';

/** Exit code of a command that was killed after its time, as these clients know it. */
const TIMEOUT_EXIT_CODE = -1;

const isTimeout = ({ state }: CommandView): boolean => state === 'timed_out' || !isFinalCommandState(state);

const timeoutText = (command: CommandView): string =>
  `Command timed out after ${command.timeoutMs / 1000} seconds`;

/** Why there is no success; null where there is. */
function failureText(command: CommandView): string | null {
  const { state, exitCode, signal, reason } = command;
  if (state === 'succeeded') return null;
  if (isTimeout(command)) return timeoutText(command);
  if (state === 'failed') {
    return signal === null
      ? `Command failed with exit code ${exitCode ?? 'unknown'}`
      : `Command was ended by ${signal}`;
  }
  if (state === 'unknown') return `Nobody knows how the command ended: ${reason ?? 'its agent is silent'}`;
  return `Command was ${state}${reason === null ? '' : `: ${reason}`}`;
}

function presentOutcome(command: CommandView, { stdout, stderr }: OutputHeads) {
  return {
    success: command.state === 'succeeded',
    output: stdout.text,
    error: stderr.text === '' || command.state === 'timed_out' ? failureText(command) : stderr.text,
    exit_code: command.exitCode ?? (command.state === 'timed_out' ? TIMEOUT_EXIT_CODE : null),
    execution_time: (command.durationMs ?? 0) / 1000,
    shell: command.shell,
    outcome: command.state,
    output_truncated: stdout.isCut || stderr.isCut,
    output_url: command.stdout.url,
    error_url: command.stderr.url,
  };
}

const idsOf = ({ commandId, agentId }: CommandView) => ({ command_id: commandId, agent_id: agentId });

const timestampOf = (command: CommandView): string => command.finishedAt ?? command.createdAt;

/** The answer of a route that has waited for the end: without one, its time is over. */
export const presentResponse = (command: CommandView, heads: OutputHeads): DexCommandResponse => ({
  ...presentOutcome(command, heads),
  ...idsOf(command),
  timestamp: timestampOf(command),
  command: command.text,
});

/** A command of the history: one that goes on has not timed out. */
export function presentListed(command: CommandView, heads: OutputHeads): DexCommandResponse {
  const response = presentResponse(command, heads);
  return isFinalCommandState(command.state) ? response : { ...response, error: pendingText(command) };
}

const pendingText = ({ state }: CommandView): string =>
  state === 'queued' ? 'Command waits for the agent' : 'Command is still executing';

/** The answer of a route that has waited for the end. */
export function presentExecuted(command: CommandView, heads: OutputHeads, isQueueing: boolean): DexExecuted {
  const body = { ...presentOutcome(command, heads), ...idsOf(command) };
  if (isQueueing && command.state === 'queued') {
    return { ...body, error: null, status: 'queued', message: 'Command waits for the agent' };
  }
  if (!isTimeout(command)) return { ...body, status: 'completed' };
  return { ...body, status: 'timeout', message: timeoutText(command) };
}

export function presentResult(command: CommandView, heads: OutputHeads): DexCommandResult {
  if (!isFinalCommandState(command.state)) {
    return { status: 'pending', ...idsOf(command), message: 'Command is still executing' };
  }
  const outcome = presentOutcome(command, heads);
  const result = { ...outcome, return_code: outcome.exit_code, timestamp: timestampOf(command) };
  return { status: 'completed', ...idsOf(command), result };
}

/** What ran to be looked at: the outcome in `result`, as where it is read later. */
export function presentTested(command: CommandView, heads: OutputHeads) {
  const { success, command_id, agent_id, shell, error, ...executed } = presentExecuted(command, heads, false);
  const { message } = executed;
  const found = presentResult(command, heads);
  return {
    ...{ success, command_id, agent_id, shell, error },
    status: executed.status === 'timeout' ? ('timeout' as const) : ('completed' as const),
    ...(message !== undefined && { message }),
    result: found.status === 'completed' ? found.result : null,
  };
}

/** The answer of a route that does not wait. */
export function presentSent(command: CommandView, isQueueing: boolean): DexSent {
  const isWaiting = isQueueing && command.state === 'queued';
  return {
    message: isWaiting ? 'Command waits for the agent' : 'Command sent to agent successfully',
    ...idsOf(command),
    status: isWaiting ? 'queued' : 'sent',
    shell: command.shell,
  };
}
