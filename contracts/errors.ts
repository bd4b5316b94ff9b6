/**
 * The one error table. Every refusal a client, an agent or a workflow can see has one row here: the HTTP status,
 * whether sending the very same request again later can succeed, and the sentence a person reads.
 *
 * Families answer with their own bodies (`api/errors/`), and may give a code another status or text; the code
 * and its meaning are only here. `docs/reference/errors.md` is rendered from this table and compared by a test.
 */

interface ErrorRow {
  /** HTTP status of the house dialect; a family or a route may override it. */
  status: number;
  /** True when the same request, unchanged, may succeed later. */
  retryable: boolean;
  /** Sentence for people; `{name}` is replaced by the parameter of that name. */
  message: string;
}

export const errorTable = {
  // The request itself
  bad_request: { status: 400, retryable: false, message: 'The request could not be understood' },
  invalid_request: { status: 400, retryable: false, message: '{reason}' },
  malformed_json: { status: 400, retryable: false, message: 'The body is not acceptable JSON: {reason}' },
  missing_dependencies: {
    status: 400,
    retryable: false,
    message: 'These tasks to depend on were not found: {taskIds}',
  },
  dependency_cycle_detected: {
    status: 400,
    retryable: false,
    message: 'The task would wait for itself',
  },
  invalid_payload: { status: 400, retryable: false, message: 'The report cannot be used: {reason}' },
  agent_url_unreachable: {
    status: 400,
    retryable: true,
    message: 'Agent URL {url} is unreachable',
  },
  role_id_required: { status: 400, retryable: false, message: 'Every member of a team needs a role_id' },
  invalid_role_for_team_type: {
    status: 400,
    retryable: false,
    message: 'Teams of this type have no role {roleId}',
  },
  unknown_template_variables: {
    status: 400,
    retryable: false,
    message: 'The template names unknown variables: {names}',
  },
  tool_guardrail_blocked: {
    status: 400,
    retryable: false,
    message: 'The tool calls are more than the guardrails allow: {reasons}',
  },
  model_test_failed: {
    status: 400,
    retryable: true,
    message: 'The language model cannot be used: {reason}',
  },
  validation_failed: { status: 422, retryable: false, message: 'The request does not match its schema' },
  body_too_large: { status: 413, retryable: false, message: 'The body is larger than {maxBytes} bytes' },
  unsupported_media_type: { status: 415, retryable: false, message: 'Send the body as {accepted}' },
  invalid_cursor: {
    status: 422,
    retryable: false,
    message: 'The cursor is not one this server has given out',
  },
  password_refused: { status: 422, retryable: false, message: '{reason}' },
  webhook_url_refused: { status: 422, retryable: false, message: 'The URL cannot be called: {reason}' },
  not_supported: { status: 422, retryable: false, message: '{feature} is not supported' },
  method_not_allowed: { status: 405, retryable: false, message: 'Method Not Allowed' },

  // Who asks
  unauthorized: { status: 401, retryable: false, message: 'Authentication is required' },
  invalid_token: { status: 401, retryable: false, message: 'The token is invalid, expired or revoked' },
  invalid_credentials: { status: 401, retryable: false, message: 'The name or the password is wrong' },
  invalid_refresh_token: {
    status: 401,
    retryable: false,
    message: 'The refresh token is invalid, expired or used',
  },
  enrolment_token_invalid: {
    status: 401,
    retryable: false,
    message: 'The enrolment token is invalid, expired or used',
  },
  mfa_required: { status: 401, retryable: false, message: 'A second factor is required' },
  mfa_token_invalid: { status: 401, retryable: false, message: 'The second factor is wrong or used' },
  forbidden: { status: 403, retryable: false, message: 'You may not do this' },
  origin_not_allowed: {
    status: 403,
    retryable: false,
    message: 'Pages of this origin may not open sockets here',
  },
  account_disabled: { status: 403, retryable: false, message: 'The account is disabled' },
  account_locked: {
    status: 403,
    retryable: true,
    message: 'Account is locked. Please try again in {seconds} seconds.',
  },
  password_change_required: {
    status: 403,
    retryable: false,
    message: 'The password must be changed before anything else, by POST /v1/auth/password',
  },
  registration_closed: { status: 403, retryable: false, message: 'Nobody can register here' },
  agent_revoked: { status: 403, retryable: false, message: 'Agent {agentId} has been revoked' },
  system_command_protected: {
    status: 403,
    retryable: false,
    message: 'Cannot {verb} a saved command that comes with the system',
  },

  // What is asked for
  not_found: { status: 404, retryable: false, message: 'Not Found' },
  parent_task_not_found: {
    status: 404,
    retryable: false,
    message: 'Task {taskId} was not found',
  },
  subtask_not_found: {
    status: 404,
    retryable: false,
    message: 'Task {taskId} is no part of this task that was handed on',
  },
  task_not_found: { status: 404, retryable: false, message: 'Task {taskId} was not found' },
  step_not_found: { status: 404, retryable: false, message: 'Task {taskId} has no step {step}' },
  agent_not_found: { status: 404, retryable: false, message: 'Agent {agentId} was not found' },
  command_not_found: { status: 404, retryable: false, message: 'Command {commandId} was not found' },
  conversation_not_found: {
    status: 404,
    retryable: false,
    message: 'Conversation {conversationId} was not found',
  },
  saved_command_not_found: {
    status: 404,
    retryable: false,
    message: 'Saved command {savedCommandId} was not found',
  },
  role_not_found: { status: 404, retryable: false, message: 'Role {roleId} was not found' },
  template_not_found: { status: 404, retryable: false, message: 'Template {templateId} was not found' },
  team_type_not_found: { status: 404, retryable: false, message: 'Team type {teamTypeId} was not found' },
  scrum_type_not_found: { status: 404, retryable: false, message: 'The team type Scrum was deleted' },
  rollout_not_found: { status: 404, retryable: false, message: 'Rollout {rolloutId} was not found' },
  alert_not_found: { status: 404, retryable: false, message: 'Alert {alertId} was not found' },
  alert_rule_not_found: {
    status: 404,
    retryable: false,
    message: 'Rule {alertRuleId} of alerts was not found',
  },
  schedule_not_found: { status: 404, retryable: false, message: 'Schedule {scheduleId} was not found' },
  webhook_not_found: { status: 404, retryable: false, message: 'Webhook {webhookId} was not found' },
  webhook_delivery_not_found: {
    status: 404,
    retryable: false,
    message: 'Delivery {deliveryId} was not found',
  },
  session_not_found: { status: 404, retryable: false, message: 'Session {sessionId} was not found' },
  terminal_not_found: {
    status: 404,
    retryable: false,
    message: 'Terminal session {terminalId} was not found',
  },
  setting_not_found: { status: 404, retryable: false, message: 'Setting {key} was not found' },
  ban_not_found: { status: 404, retryable: false, message: 'Address {address} is not banned' },
  user_not_found: { status: 404, retryable: false, message: 'User {userId} was not found' },

  // The state it is in
  conflict: {
    status: 409,
    retryable: false,
    message: 'The request conflicts with the current state: {reason}',
  },
  precondition_failed: {
    status: 412,
    retryable: false,
    message: 'It has changed since it was read; read it again',
  },
  task_blocked: { status: 409, retryable: true, message: 'Task {taskId} is blocked: {reason}' },
  task_exists: { status: 409, retryable: false, message: 'Another task has the id {taskId}' },
  task_not_open: { status: 409, retryable: false, message: 'Task {taskId} has ended ({state})' },
  rollout_not_open: {
    status: 409,
    retryable: false,
    message: 'Rollout {rolloutId} has ended ({state})',
  },
  no_proposal: { status: 409, retryable: false, message: 'Task {taskId} has no open proposal' },
  no_agent: { status: 409, retryable: true, message: 'No agent can take task {taskId}' },
  stale_digest: {
    status: 409,
    retryable: false,
    message: 'The proposal has changed since it was read; read it again',
  },
  already_decided: { status: 409, retryable: false, message: 'Step {step} has been decided: {decision}' },
  approval_expired: { status: 409, retryable: false, message: 'The time to decide step {step} is over' },
  command_conflict: {
    status: 409,
    retryable: false,
    message: 'Command {commandId} exists and asks for something else',
  },
  command_running: { status: 409, retryable: true, message: 'Command {commandId} is still {state}' },
  agent_not_connected: { status: 409, retryable: true, message: 'Agent {agentId} is not connected' },
  user_exists: { status: 409, retryable: false, message: 'Another account has the name {username}' },
  email_exists: { status: 409, retryable: false, message: 'Another account has the e-mail address {email}' },
  agent_exists: { status: 409, retryable: false, message: 'Another agent has the id {agentId}' },
  idempotency_conflict: {
    status: 422,
    retryable: false,
    message: 'The Idempotency-Key was used for another request',
  },

  // Limits
  rate_limited: {
    status: 429,
    retryable: true,
    message: 'Too many requests; try again in {seconds} seconds',
  },
  address_banned: {
    status: 429,
    retryable: true,
    message: 'Too many failed attempts from this address; try again in {seconds} seconds',
  },
  budget_exceeded: { status: 429, retryable: true, message: 'The {scope} budget for the model is used up' },

  // What the server lacks right now
  internal_error: { status: 500, retryable: true, message: 'Internal server error' },
  terminal_unavailable: {
    status: 501,
    retryable: false,
    message: 'Terminals are not available here: {reason}',
  },
  service_unavailable: { status: 503, retryable: true, message: 'The service is not available' },
  shutdown_in_progress: { status: 503, retryable: true, message: 'The server is shutting down' },
  database_unavailable: { status: 503, retryable: true, message: 'The database is not available' },
  temporal_unavailable: { status: 503, retryable: true, message: 'Temporal is not available' },
  model_unavailable: { status: 503, retryable: true, message: 'The language model is not available' },
  model_not_configured: {
    status: 503,
    retryable: false,
    message: 'No language model is configured: ANTHROPIC_API_KEY is not set',
  },
  answer_broken_off: { status: 502, retryable: true, message: "The language model's answer broke off" },
  backend_unavailable: {
    status: 503,
    retryable: true,
    message: 'The backend {backend} is not available: {reason}',
  },
  backend_failed: { status: 502, retryable: true, message: 'The backend {backend} failed: {reason}' },
  forwarding_failed: {
    status: 502,
    retryable: true,
    message: 'The agent was asked at its address and gave no usable answer',
  },
  delegation_failed: {
    status: 502,
    retryable: true,
    message: 'The task could not be handed on',
  },
  local_agent_unavailable: { status: 503, retryable: true, message: 'The local agent is not connected' },
  proposal_pending: {
    status: 504,
    retryable: true,
    message: 'Step {step} of task {taskId} is not proposed yet; read the task later',
  },
  execution_pending: {
    status: 504,
    retryable: true,
    message: 'Command {commandId} has not finished yet; read its result later',
  },
} as const satisfies Record<string, ErrorRow>;

export type ErrorCode = keyof typeof errorTable;

type Placeholders<Text extends string> = Text extends `${string}{${infer Name}}${infer Rest}`
  ? Name | Placeholders<Rest>
  : never;

/** The parameters that the message of `Code` names, e.g. `{ taskId }` for `task_not_found`. */
export type ErrorParams<Code extends ErrorCode> = {
  [Name in Placeholders<(typeof errorTable)[Code]['message']>]: string | number;
};

/** One thing wrong with a request, neutral to the dialect that will print it. */
export interface ValidationIssue {
  in: 'body' | 'query' | 'path' | 'header';
  path: readonly (string | number)[];
  message: string;
  /** Kind of the problem as pydantic names it (`missing`, `string_too_short` …): clients of two families read it. */
  type: string;
}

export interface ProblemOptions {
  /** What went wrong underneath; logged, never sent. */
  cause?: unknown;
  /** Facts for the client beside the message (dex `details`, ananta `data`, house members of the problem). */
  details?: Readonly<Record<string, unknown>>;
  /** Only for `validation_failed`. */
  issues?: readonly ValidationIssue[];
  /** Headers of the answer, e.g. `Retry-After`. */
  headers?: Readonly<Record<string, string>>;
}

/** The only error thrown on purpose. Anything else that reaches a client is `internal_error`. */
export class SteelthreadError extends Error {
  override readonly name = 'SteelthreadError';
  readonly code: ErrorCode;
  readonly params: Readonly<Record<string, string | number>>;
  readonly details: Readonly<Record<string, unknown>> | undefined;
  readonly issues: readonly ValidationIssue[];
  readonly headers: Readonly<Record<string, string>>;

  constructor(code: ErrorCode, params: Record<string, string | number>, options: ProblemOptions = {}) {
    super(fillTemplate(errorTable[code].message, params), { cause: options.cause });
    this.code = code;
    this.params = params;
    this.details = options.details;
    this.issues = options.issues ?? [];
    this.headers = options.headers ?? {};
  }

  get status(): number {
    return errorTable[this.code].status;
  }

  get retryable(): boolean {
    return errorTable[this.code].retryable;
  }
}

type ProblemArguments<Code extends ErrorCode> = keyof ErrorParams<Code> extends never
  ? [params?: Record<string, never>, options?: ProblemOptions]
  : [params: ErrorParams<Code>, options?: ProblemOptions];

/**
 * Builds the error to throw: `throw problem('task_not_found', { taskId })`.
 * The parameters are those named in the code's message.
 */
export function problem<Code extends ErrorCode>(
  code: Code,
  ...rest: ProblemArguments<Code>
): SteelthreadError {
  const [params, options] = rest;
  return new SteelthreadError(code, params ?? {}, options);
}

/** True for an error of the table, of the given code when one is named. */
export function isProblem(error: unknown, code?: ErrorCode): error is SteelthreadError {
  return error instanceof SteelthreadError && (code === undefined || error.code === code);
}

/** Replaces `{name}` by the parameter; an unknown name stays as it is written. */
export function fillTemplate(template: string, params: Readonly<Record<string, string | number>>): string {
  return template.replace(/\{(\w+)\}/g, (text, name: string) => String(params[name] ?? text));
}

/** Short title of a code, the same for every occurrence (RFC 9457 `title`): `Task not found`. */
export function titleOf(code: ErrorCode): string {
  const words = code.replaceAll('_', ' ').replace('json', 'JSON').replace('mfa', 'MFA');
  return words.charAt(0).toUpperCase() + words.slice(1);
}

/** The table as Markdown: the whole content of `docs/reference/errors.md`. */
export function renderErrorReference(): string {
  const rows = Object.entries(errorTable).map(
    ([code, row]) => `| \`${code}\` | ${row.status} | ${row.retryable ? 'yes' : 'no'} | ${row.message} |`,
  );
  return [
    '# Errors',
    '',
    'Rendered from `contracts/errors.ts`; a test compares the two (`npx vitest run test/api/errors.test.ts -u` rewrites it).',
    'The status is that of the house API; a family may answer another one where its contract says so.',
    'Retry: the same request, unchanged, may succeed later.',
    '',
    '| code | status | retry | message |',
    '|---|---|---|---|',
    ...rows,
    '',
  ].join('\n');
}
