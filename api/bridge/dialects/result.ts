/**
 * A result in any of the shapes: everything in `data` (A), in `data.result` (B), the id beside `data` (C), or flat (D);
 * and the answer to a request id, whose `data` is `{output}`, `{error}` or what the output said as JSON.
 */
import { type AgentOutcome, commandIdSchema } from '../../../contracts/agent-protocol.ts';
import { REQUEST_ID_PREFIX } from './dialect.ts';
import { type Fields, fieldsOf, firstGiven, numberOf, textOf } from './json.ts';

export interface LegacyResult {
  /** Undefined when the id is none of ours. */
  commandId: string | undefined;
  outcome: Extract<AgentOutcome, 'succeeded' | 'failed' | 'timed_out'>;
  /** Null where the shape has none. */
  exitCode: number | null;
  reason: string | null;
  durationMs: number | null;
  stdout: Buffer;
  stderr: Buffer;
}

/** Exit codes of Windows are unsigned 32-bit, those of others signed. */
const isExitCode = (code: number): boolean => Number.isInteger(code) && Math.abs(code) < 2 ** 32;
/** Longer than any command runs, milliseconds. */
const MAX_DURATION_MS = 30 * 24 * 60 * 60 * 1000;
/** All that says of such an agent that it killed the command: the text its library makes of a timeout. */
const timeoutText = /^command timed out after \d+(\.\d+)? seconds?\.?$/i;

/** Undefined when the frame names no command. */
export function readResult(frame: Fields): LegacyResult | undefined {
  const data = fieldsOf(frame.data);
  const inner = fieldsOf(data?.result);
  const named = firstGiven(
    frame.command_id,
    frame.request_id,
    data?.command_id,
    data?.request_id,
    inner?.command_id,
    frame.id,
    data?.id,
  );
  if (typeof named !== 'string') return undefined;
  const isAnswer = isAnswerItself(frame, data);
  const around = isAnswer ? [frame] : [inner, data, frame];
  const places: readonly Fields[] = around.filter((place) => place !== undefined);
  const field = (...names: readonly string[]): unknown =>
    firstGiven(...places.flatMap((place) => names.map((name) => ownField(place, name))));

  const said = isAnswer
    ? textOf(frame.data)
    : textOf(firstGiven(field('output', 'stdout'), plain(data?.result), plain(frame.data)));
  const error = textOf(field('error', 'stderr')) ?? '';
  const exitCode = exitCodeOf(field('exit_code', 'return_code', 'returncode'));
  const success = firstGiven(...places.map((place) => place.success));
  const seconds = numberOf(field('execution_time')) ?? -1;
  return {
    commandId: commandIdOf(named),
    ...outcomeOf({ success, exitCode, error }),
    durationMs: seconds < 0 ? null : Math.min(Math.round(seconds * 1000), MAX_DURATION_MS),
    stdout: Buffer.from(said ?? ''),
    stderr: Buffer.from(error),
  };
}

/** Only what the object itself has: its prototype says nothing of a command. */
const ownField = (fields: Fields, name: string): unknown =>
  Object.hasOwn(fields, name) ? fields[name] : undefined;

/** A value that is no object is what was said, not where. */
const plain = (value: unknown): unknown => (fieldsOf(value) === undefined ? value : undefined);

/** What `data` of an answer to a request id holds where it is not the answer itself. */
const wrapperNames = new Set(
  'output error result success exit_code return_code execution_time command command_id request_id timestamp'.split(
    ' ',
  ),
);

/** `data` of an answer to a request id is what the command's output said as JSON, unless it only wraps the text. */
function isAnswerItself(frame: Fields, data: Fields | undefined): boolean {
  if (frame.type !== 'powershell_result' || frame.data === undefined || frame.data === null) return false;
  if (data === undefined) return true;
  const names = Object.keys(data);
  const isWrapper = ['output', 'error', 'result'].some((name) => name in data);
  return !isWrapper || !names.every((name) => wrapperNames.has(name));
}

function commandIdOf(named: string): string | undefined {
  const id = named.startsWith(REQUEST_ID_PREFIX) ? named.slice(REQUEST_ID_PREFIX.length) : named;
  return commandIdSchema.safeParse(id).success ? id.toLowerCase() : undefined;
}

const exitCodeOf = (value: unknown): number | null => {
  const code = numberOf(value);
  return code !== undefined && isExitCode(code) ? code : null;
};

/** Every sign of failure counts: a command that is said to have failed must not read as done. */
function outcomeOf(said: {
  success: unknown;
  exitCode: number | null;
  error: string;
}): Pick<LegacyResult, 'outcome' | 'exitCode' | 'reason'> {
  const { exitCode, error } = said;
  const isSilent = said.success === undefined && exitCode === null;
  const isGood = isSilent ? error === '' : said.success !== false && (exitCode ?? 0) === 0;
  if (isGood) return { outcome: 'succeeded', exitCode, reason: null };
  if ((exitCode === null || exitCode === -1) && timeoutText.test(error.trim())) {
    return { outcome: 'timed_out', exitCode: null, reason: 'timeout' };
  }
  const reason = exitCode === null || exitCode === 0 ? 'agent_reported_failure' : 'exit_code';
  return { outcome: 'failed', exitCode, reason };
}
