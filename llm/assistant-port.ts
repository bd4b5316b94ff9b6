/**
 * The language model as an assistant at the desk of an operator: it writes a command that a person may use, and says
 * what a command's output means. Adapter: `anthropic-assistant.ts`. `domain/assistant/metered.ts` puts budget and memory
 * around it. Nothing it says has an effect by itself.
 */
import type { ParameterType } from '../contracts/saved-commands.ts';
import type { ChatMessage } from './chat-port.ts';
import type { Usage } from './port.ts';

/** The machine a command is for. Its own words are hostile text, as all that machines say. */
export interface SuggestTarget {
  /** Shell the command must be written for. */
  shell: string;
  os: string | null;
  hostname: string | null;
}

export interface SuggestRequest {
  /** Oldest first; the last one is the user's wish. Cut to the token budget of a conversation, the newest stay. */
  messages: readonly ChatMessage[];
  target: SuggestTarget;
}

/** `choice` needs options, which a model is not asked for. */
export type SuggestedParameterType = Exclude<ParameterType, 'choice'>;

/** A value that the user has left open: the command reads it as a variable of its shell. */
export interface SuggestedParameter {
  name: string;
  type: SuggestedParameterType;
  description: string;
  required: boolean;
  default: string | null;
}

/** The prose shows all that is in it: control and invisible characters are spelled out. The command is as written. */
export interface SuggestedCommand {
  command: string;
  name: string;
  description: string;
  category: string;
  parameters: readonly SuggestedParameter[];
  tags: readonly string[];
  explanation: string;
  /** The model's guess, such as `1-3 seconds`; null: none. */
  estimatedTime: string | null;
}

export interface SuggestAnswer {
  /** null: the model answered in words (asked back, for example), or would not help. */
  suggestion: SuggestedCommand | null;
  /** All it said, as text; the input of its tool as JSON. */
  raw: string;
  isRefusal: boolean;
  usage: Usage;
}

/** Bytes (UTF-8) of an output stream that the model is shown; of more the middle is left out. */
export const EXPLAINED_STREAM_BYTES = 8 * 1024;

/** A command that has ended. `stdout` and `stderr` are hostile text. */
export interface ExplainRequest {
  command: string;
  shell: string | null;
  os: string | null;
  /** Final state of the command. */
  state: string;
  exitCode: number | null;
  durationMs: number | null;
  stdout: string;
  stderr: string;
  /** The text above is not all that the command wrote. */
  stdoutTruncated: boolean;
  stderrTruncated: boolean;
}

export interface ExplainAnswer {
  text: string;
  usage: Usage;
}

export interface AssistantOptions {
  signal: AbortSignal;
  /** Told before the call fails, when nobody waited for its answer any more: the question is charged all the same. */
  onAbandoned?: (estimated: Usage) => void;
}

export interface AssistantPort {
  /** One attempt, no retries. Both throw `LlmError`, or the reason of the signal when that was aborted. */
  suggest(request: SuggestRequest, options: AssistantOptions): Promise<SuggestAnswer>;
  explain(request: ExplainRequest, options: AssistantOptions): Promise<ExplainAnswer>;
}
