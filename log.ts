/**
 * Structured logging: one event name per fact (`log.info({ event: 'task_created', taskId })`), ids always, durations
 * in ms, errors as `err`, secrets never. JSON lines for machines, or short lines for people.
 */
import { type DestinationStream, destination, type Logger as PinoLogger, pino, stdSerializers } from 'pino';

export type Logger = PinoLogger;

export interface LoggerOptions {
  /** Least severe level written; default info. */
  level?: string;
  /** Default json. */
  format?: 'json' | 'pretty';
  /** Which process or part speaks. */
  name: string;
  /** Where lines go; default standard output. */
  stream?: { write(line: string): void };
}

export function createLogger({ level = 'info', format = 'json', name, stream }: LoggerOptions): Logger {
  const sink: DestinationStream = stream ?? standardOutput();
  return pino(
    {
      name,
      level,
      base: {},
      timestamp: () => `,"time":"${new Date().toISOString()}"`,
      formatters: { level: (label) => ({ level: label }), log: (fields) => redactFields(fields, 0) },
      serializers: { err: serializeError },
      // Messages, errors and fields of child loggers as well; what it replaces never spans a quote.
      hooks: { streamWrite: (line) => escapeUnseen(redactText(line)) },
      // Fields of child loggers do not pass through formatters.log.
      redact: { paths: [...SECRET_NAMES], censor: REDACTED },
    },
    format === 'pretty' ? { write: (line: string) => sink.write(formatPretty(line)) } : sink,
  );
}

/** What is kept of lines that could not be written, bytes; what comes above is dropped. */
const MAX_UNWRITTEN_BYTES = 8 * 1024 * 1024;

/** A log whose disk is full ends no process: its lines wait, up to a bound. */
function standardOutput(): DestinationStream {
  const output = destination({ fd: 1, sync: true, maxLength: MAX_UNWRITTEN_BYTES });
  output.on('error', () => undefined);
  return output;
}

const REDACTED = '[redacted]';
const MAX_DEPTH = 6;
const SECRET_NAMES = ['authorization', 'cookie', 'password', 'secret', 'token', 'apiKey'] as const;

/** Names whose value is a secret, whatever the spelling: `access_token`, `agentToken`, `X-API-Key`, `adminPassword`. */
const SECRET_NAME =
  /^(authorization|proxy-authorization|cookie|set-cookie|ticket|qr_?code|otpauth_?url)$|(passwords?(_?hash)?|passphrase|secret|token|api[-_]?key|secret_?keys?|encryption_?keys?|(backup|mfa)_?codes?)$/i;

/**
 * Secrets inside text: credentials in URLs, tokens in queries, bearer headers, our own tokens. Strangers choose what is
 * logged, so none may take more than linear time: each begins at something that its runs cannot hold, or is bounded.
 */
const SECRET_TEXT: ReadonlyArray<readonly [RegExp, string]> = [
  [/(:\/\/[^\s:/@"\\]*:)[^\s@/"\\]+@/g, `$1${REDACTED}@`],
  [/([?&][\w-]*(?:token|ticket|secret|password|key)=)[^&\s"'\\]+/gi, `$1${REDACTED}`],
  [/\b(Bearer|Basic)\s+[\w.~+/=-]+/gi, `$1 ${REDACTED}`],
  // Our own tokens say what they are: agent, shared, enrolment, refresh, personal, ticket.
  [/\b(st[aserpk]_)[\w-]{20,}/g, `$1${REDACTED}`],
  // JWTs, password hashes, what authenticator programs are given, keys of the model's provider.
  [/\beyJ[\w-]{8,1024}\.[\w-]+\.[\w-]+/g, REDACTED],
  [/\$2[aby]\$\d\d\$[\w./]{53}/g, REDACTED],
  [/\botpauth:\/\/[^\s"'\\]+/gi, `otpauth://${REDACTED}`],
  [/\bsk-ant-[\w-]{8,}/g, REDACTED],
];

/** `text` without the secrets that can be recognised in it. */
export function redactText(text: string): string {
  return SECRET_TEXT.reduce((result, [pattern, replacement]) => result.replace(pattern, replacement), text);
}

/** DEL, C1 controls, lone surrogates, and what reorders or hides text: JSON may hold them as they are, terminals obey. */
const UNSEEN = /[\u007f-\u009f\p{Cf}\p{Cs}\u2028\u2029]/gu;

/** A line of JSON in which nothing drives the terminal that shows it; it parses to the same. */
const escapeUnseen = (line: string): string =>
  line.replace(UNSEEN, (character) =>
    Array.from(
      { length: character.length },
      (_, index) => `\\u${character.charCodeAt(index).toString(16).padStart(4, '0')}`,
    ).join(''),
  );

function redactFields(fields: Record<string, unknown>, depth: number): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(fields).map(([name, value]) => [name, redactValue(name, value, depth)] as const),
  );
}

function redactValue(name: string, value: unknown, depth: number): unknown {
  if (value === null || value === undefined) return value;
  if (SECRET_NAME.test(name) && typeof value !== 'number' && typeof value !== 'boolean') return REDACTED;
  if (value instanceof Error) return serializeError(value);
  if (typeof value !== 'object' || value instanceof Date || Buffer.isBuffer(value)) return value;
  if (depth >= MAX_DEPTH) return '[deep]';
  if (Array.isArray(value)) return value.map((entry) => redactValue('', entry, depth + 1));
  return redactFields(value as Record<string, unknown>, depth + 1);
}

function serializeError(error: unknown): unknown {
  if (!(error instanceof Error)) return error;
  const { raw: _, ...fields } = stdSerializers.err(error);
  return redactFields(fields, 1);
}

const SHORT_LEVEL: Record<string, string> = {
  trace: 'trace',
  debug: 'debug',
  info: 'info ',
  warn: 'WARN ',
  error: 'ERROR',
  fatal: 'FATAL',
};
const NOT_SHOWN = new Set(['level', 'time', 'name', 'event', 'msg', 'err']);

/** Controls but tab and line feed, and what reorders or hides text: errors and frames of others may hold them. */
const NOT_PRINTABLE = /[^\P{Cc}\t\n]|[\p{Cf}\p{Cs}\u2028\u2029]/gu;

/** `12:03:04.123 info  api task_created taskId=… — message`, and the stack of an error on the lines below. */
export function formatPretty(line: string): string {
  return formatLine(line).replaceAll(NOT_PRINTABLE, '·');
}

function formatLine(line: string): string {
  const record = parseRecord(line);
  if (record === null) return line;
  const fields = Object.entries(record)
    .filter(([name, value]) => !NOT_SHOWN.has(name) && value !== undefined)
    .map(([name, value]) => `${name}=${formatValue(value)}`);
  const failure = record.err;
  const clock = String(record.time).slice(11, 23);
  const head = [
    clock,
    SHORT_LEVEL[String(record.level)] ?? record.level,
    record.name,
    record.event,
    ...fields,
  ];
  // The message of an error is the first line of its stack.
  const isRepeated =
    typeof failure === 'object' && failure !== null && 'message' in failure && failure.message === record.msg;
  const message =
    record.msg === undefined || isRepeated ? '' : ` — ${String(record.msg).replaceAll('\n', '\n    ')}`;
  return `${head.filter((part) => part !== undefined && part !== '').join(' ')}${message}${formatFailure(failure)}\n`;
}

function parseRecord(line: string): Record<string, unknown> | null {
  try {
    const parsed: unknown = JSON.parse(line);
    return typeof parsed === 'object' && parsed !== null ? { ...parsed } : null;
  } catch {
    return null;
  }
}

function formatValue(value: unknown): string {
  if (typeof value === 'string' && /^[^\s"=]+$/.test(value)) return value;
  return JSON.stringify(value);
}

function formatFailure(failure: unknown): string {
  if (failure === undefined || failure === null) return '';
  if (typeof failure === 'object' && 'stack' in failure)
    return `\n    ${String(failure.stack).replaceAll('\n', '\n    ')}`;
  return ` err=${formatValue(failure)}`;
}
