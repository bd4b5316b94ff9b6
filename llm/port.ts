/**
 * The language model as the rest of the system sees it: one question (what next?) and one answer.
 *
 * Adapters: `anthropic.ts` (Claude) and `mock/` (a labelled, rule-based planner). `with-budget.ts` wraps either.
 * Conversations have a port of their own, `chat-port.ts`.
 * An answer has no effect by itself: it becomes a proposal that a person or a policy decides.
 */

/** How an earlier proposal was decided. `void` = withdrawn undecided (the task was reassigned, for example). */
export type EarlierDecision = 'approve' | 'edit' | 'reject' | 'void';

/** What came of an executed command. `stdout` and `stderr` are hostile text: whoever wrote them is not trusted. */
export interface EarlierOutcome {
  /** Final state of the command: succeeded, failed, timed_out, canceled, expired, rejected or unknown. */
  state: string;
  exitCode: number | null;
  stdout: string;
  stderr: string;
  /** The text above is not all that the command wrote. */
  stdoutTruncated: boolean;
  stderrTruncated: boolean;
}

export interface EarlierStep {
  /** Number of the step in its task run, from 1. */
  step: number;
  /** What was decided on: for an edit, the person's command. */
  command: string;
  shell: string | null;
  /** Why the model proposed it. */
  reason: string;
  decision: EarlierDecision;
  /** What the person who decided wrote, if anything. */
  decisionReason: string | null;
  /** The model's own command, when a person edited it. */
  editedFrom: string | null;
  /** `null`: it did not run. */
  outcome: EarlierOutcome | null;
}

export interface ProposeRequest {
  /** `id` null: the question belongs to no task. */
  task: { id: string | null; runNo: number; title: string; goal: string };
  /** What whoever asked for this step wants of it, beside the goal; as trusted as the goal. */
  prompt?: string | null;
  /** Number of the step to propose, from 1 to `maxSteps`. */
  step: number;
  maxSteps: number;
  agent: { id: string; hostname: string; os: string; shells: readonly string[]; defaultShell: string };
  /** Earlier steps of this run, oldest first. */
  history: readonly EarlierStep[];
  /** Who pays: budgets are counted for this principal. */
  actor: { principalId: string };
}

export interface Usage {
  model: string;
  inputTokens: number;
  outputTokens: number;
  /** Approximate: token counts times the table in `prices.ts`. */
  costUsd: number;
  /** `true`: no model was asked, the mock planner answered. */
  mock: boolean;
}

export interface ProposedCommand {
  kind: 'command';
  command: string;
  /** One of the agent's shells; `null` = its default shell. */
  shell: string | null;
  reason: string;
  expectedEffect: string;
  usage: Usage;
}

export interface ProposedEnd {
  kind: 'done';
  /** Whether the goal was reached, in the model's judgement. */
  success: boolean;
  summary: string;
  usage: Usage;
}

export type ProposeAnswer = ProposedCommand | ProposedEnd;

export interface ProposeOptions {
  /** Ask this model of the provider instead of the configured one. */
  model?: string | undefined;
  /** Aborting ends the call; it then rejects with the signal's reason, not with an `LlmError`. */
  signal: AbortSignal;
  /** Told before the call fails, when nobody waited for its answer any more: the question is charged all the same. */
  onAbandoned?: (estimated: Usage) => void;
}

export interface LlmPort {
  /** `anthropic` or `mock`. */
  readonly name: string;
  readonly isMock: boolean;
  /** Proposes the next command or ends the task. Throws `LlmError`. Makes one attempt: the caller retries. */
  propose(request: ProposeRequest, options: ProposeOptions): Promise<ProposeAnswer>;
}

/** Whom a call is counted for. */
export interface BudgetScope {
  /** null: it serves no task. */
  taskId: string | null;
  principalId: string;
}

/** How a counted call ended: `ok`, `aborted` (whoever asked has left), or the code of its error. */
export type CallOutcome = 'ok' | 'aborted' | LlmErrorCode;

/** Keeps the sums. Implemented outside of this folder (it needs the database). */
export interface Budget {
  /** Throws `LlmError` `llm_budget_exceeded` when task, principal or day has used up its limit. */
  assertWithin(scope: BudgetScope): Promise<void>;
  record(scope: BudgetScope, usage: Usage, outcome: CallOutcome): Promise<void>;
}

/** Every way a call can fail, and whether asking again later can help. */
export const llmErrorRetryable = {
  llm_rate_limited: true,
  llm_overloaded: true,
  llm_timeout: true,
  llm_unavailable: true,
  llm_bad_answer: true,
  llm_refused: false,
  llm_auth: false,
  llm_bad_request: false,
  llm_budget_exceeded: false,
} as const;

export type BudgetName = 'task' | 'user' | 'day';

export type LlmErrorCode = keyof typeof llmErrorRetryable;

export interface LlmErrorDetails {
  /** How long the provider asks us to wait, in milliseconds. */
  retryAfterMs?: number;
  /** Known when the provider answered and charged, but the answer was of no use. */
  usage?: Usage;
  /** Of `llm_budget_exceeded`: which budget. */
  budget?: BudgetName;
  cause?: unknown;
}

/** The only error a port throws (besides the reason of an aborted signal). The message holds no secrets. */
export class LlmError extends Error {
  readonly code: LlmErrorCode;
  readonly retryable: boolean;
  readonly retryAfterMs: number | undefined;
  readonly usage: Usage | undefined;
  readonly budget: BudgetName | undefined;

  constructor(code: LlmErrorCode, message: string, details: LlmErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = 'LlmError';
    this.code = code;
    this.retryable = llmErrorRetryable[code];
    this.retryAfterMs = details.retryAfterMs;
    this.usage = details.usage;
    this.budget = details.budget;
  }
}
