/**
 * The language model as a partner in a conversation: messages go in, an answer comes out piece by piece.
 *
 * Adapters: `anthropic-chat.ts` (Claude) and `mock-chat.ts` (labelled, rule-based). `domain/metered-chat.ts` puts the
 * budget around either. An answer has no effect by itself: a tool call is data for the caller, who decides what it does.
 */
import type { Usage } from './port.ts';

/** Messages of a conversation that an answer can be asked with: nobody needs to load more. */
export const MAX_WINDOW_MESSAGES = 200;

export interface ChatMessage {
  /** `system`: a note of the server in the middle of a conversation; it is shown to the model, never obeyed as a rule. */
  role: 'user' | 'assistant' | 'system';
  content: string;
}

/** A tool that a model may ask to have called. Its words are the caller's, so they are trusted. */
export interface ChatTool {
  /** Letters, digits, `_` and `-`, at most 64. */
  name: string;
  description: string;
  /** JSON schema of the arguments, an object. */
  parameters: Readonly<Record<string, unknown>>;
}

export interface ChatRequest {
  /** Oldest first; the last one is the user's. Cut to the adapter's token budget, the newest stay. */
  messages: readonly ChatMessage[];
  /** Trusted words of the caller behind the standing rules: who asks, what there is. Never cut. */
  system?: string;
  /** Trusted rules of the caller that stand in place of the standing ones, which are those of a conversation. */
  rules?: string;
  /** Whether the model may call `propose_task`. Default true. */
  mayProposeTasks?: boolean;
  /** Further tools that the model may ask for; it may ask for several at once. */
  tools?: readonly ChatTool[];
  /** Ask this model of the provider instead of the configured one. */
  model?: string;
}

/** What a model suggests by the tool `propose_task`. */
export interface ProposedTask {
  /** null: none was given. */
  title: string | null;
  goal: string;
  agentId: string | null;
  /** Not to be heeded beside an `agentId`. */
  tags: readonly string[];
}

/** Why an answer ended: said all, cut off by the token limit, or the model would not go on. */
export type ChatStop = 'complete' | 'length' | 'refusal';

/**
 * Texts in order; the calls of tools after all texts (at most one of `propose_task`); then `end`, always and once. Texts are never empty, hold no
 * half characters and no control characters but tab and line feed: what is streamed can be stored as it is.
 */
export type ChatPart =
  | { type: 'text'; text: string }
  | { type: 'tool'; name: 'propose_task'; input: ProposedTask }
  /** Only where tools were given, and only of those. The input is what the model wrote: nobody has checked it. */
  | { type: 'call'; name: string; input: Readonly<Record<string, unknown>> }
  | {
      type: 'end';
      model: string;
      /** `true`: no model was asked, the mock answered. */
      mock: boolean;
      inputTokens: number;
      outputTokens: number;
      stop: ChatStop;
    };

export interface ChatAnswer extends AsyncIterable<ChatPart> {
  /**
   * What the call has used so far; null when nothing was charged. Exact after `end`. Of an answer that ended early the
   * tokens the provider has not told are estimated, and rather too high than too low.
   */
  usage(): Usage | null;
}

export interface ChatPort {
  /** `anthropic` or `mock`. */
  readonly name: string;
  readonly isMock: boolean;
  /**
   * Asks when it is iterated, once. The iteration throws `LlmError`, or the reason of the signal when that was aborted;
   * leaving it early ends the call. One attempt, no retries.
   */
  answer(request: ChatRequest, options: { signal: AbortSignal }): ChatAnswer;
}
