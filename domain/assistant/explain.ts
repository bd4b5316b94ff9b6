/** Have the model say what the outcome of a command means. */
import type { StreamName } from '../../contracts/agent-protocol.ts';
import { isFinalCommandState } from '../../contracts/command-states.ts';
import { problem } from '../../contracts/errors.ts';
import { findAgent } from '../../db/agents.ts';
import { readOutput } from '../../db/command-output.ts';
import type { CommandWithAct } from '../../db/commands.ts';
import { EXPLAINED_STREAM_BYTES } from '../../llm/assistant-port.ts';
import { getCommandRow } from '../commands/read.ts';
import { toCommandView } from '../commands/view.ts';
import type { Actor } from '../deps.ts';
import { assertCan } from '../policy.ts';
import { type AssistantDeps, recordExchange, usageDetails } from './exchanges.ts';

/** Room for the note of how much was left out, bytes. */
const CUT_NOTE_BYTES = 128;
/** Of each stream, what is read of its head and of its tail, bytes. Together all that the model is shown. */
const END_BYTES = (EXPLAINED_STREAM_BYTES - CUT_NOTE_BYTES) / 2;

/**
 * @returns a few sentences of plain text. They are the model's reading of text that a machine wrote: for people, never
 *   something to act upon by rule.
 * @throws forbidden, command_not_found, command_running, budget_exceeded, model_unavailable, model_not_configured
 */
export async function explainCommand(
  deps: AssistantDeps,
  actor: Actor,
  commandId: string,
  { signal }: { signal: AbortSignal },
): Promise<string> {
  assertCan(actor.principal, 'propose', 'command');
  assertCan(actor.principal, 'read', 'output');
  const row = await getCommandRow(deps, actor, commandId);
  if (!isFinalCommandState(row.state)) throw problem('command_running', { commandId, state: row.state });
  const [agent, stdout, stderr] = await Promise.all([
    findAgent(deps.db, row.agentId),
    readEnds(deps, row, 'stdout'),
    readEnds(deps, row, 'stderr'),
  ]);
  const { text, shell, durationMs } = toCommandView(row);
  const request = {
    command: text,
    shell,
    os: agent?.os ?? null,
    state: row.state,
    exitCode: row.exitCode,
    durationMs,
    stdout,
    stderr,
    stdoutTruncated: row.stdout.truncated,
    stderrTruncated: row.stderr.truncated,
  };
  const answer = await recordExchange(
    deps,
    actor,
    () => deps.assistant.explain(request, { principalId: actor.principal.id, signal }),
    (given) => ({
      action: 'assistant.explain',
      targetKind: 'command',
      targetId: commandId,
      details: given === undefined ? {} : usageDetails(given.usage),
    }),
  );
  return answer.text;
}

/** Head and tail of what is stored, with a note of how much lies between them. Invalid bytes become U+FFFD. */
async function readEnds({ db }: AssistantDeps, row: CommandWithAct, stream: StreamName): Promise<string> {
  const { bytes } = row[stream];
  if (bytes <= 2 * END_BYTES) return textOf(await readOutput(db, row.commandId, stream, 0, 2 * END_BYTES));
  const [head, tail] = await Promise.all([
    readOutput(db, row.commandId, stream, 0, END_BYTES),
    readOutput(db, row.commandId, stream, bytes - END_BYTES, END_BYTES),
  ]);
  return `${textOf(head)}\n[… ${bytes - 2 * END_BYTES} of ${bytes} bytes left out here …]\n${textOf(tail)}`;
}

const textOf = (part: Buffer): string => part.toString('utf8');
