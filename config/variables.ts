/**
 * The one table of environment variables: name, parser, default, unit, meaning. The type of `Config`,
 * `.env.example` and `docs/reference/configuration.md` all come from it.
 */
import type { z } from 'zod';
import * as parse from './parsers.ts';

/** A default as it would be written in the environment; an object where production differs. */
type DefaultText = string | { development: string | null; production: string | null };

interface Description {
  /** Name in the environment. */
  name: string;
  group: Group;
  /** What it is for; one or two sentences. */
  description: string;
  /** A value that would be accepted; used in the fix of a problem and in `.env.example`. */
  example: string;
  unit?: string;
  /** Never logged, never shown in a problem. */
  secret?: true;
  /** An administrator may override it at run time in `settings`. */
  settingsOverridable?: true;
}

export interface Variable<T> extends Description {
  schema: z.ZodType<T, string>;
  default: DefaultText | null;
}

export const groups = [
  'Database',
  'Temporal',
  'HTTP',
  'Identity and keys',
  'Language model',
  'Commands',
  'Terminals',
  'Service',
] as const;

type Group = (typeof groups)[number];

/** A variable that always has a value. */
function withDefault<T>(
  row: Description & {
    schema: z.ZodType<T, string>;
    default: string | { development: string; production: string };
  },
): Variable<T> {
  return row;
}

/** A variable that may have no value, which reads as null. */
function optional<T>(
  row: Description & { schema: z.ZodType<T, string>; default?: DefaultText },
): Variable<T | null> {
  return { ...row, default: row.default ?? null };
}

const KIBIBYTE = 1024;
const MEBIBYTE = 1024 * KIBIBYTE;
const MIN_SIGNING_KEY_LENGTH = 32;
const MIN_AGENT_TOKEN_LENGTH = 16;
const MIN_ADMIN_PASSWORD_LENGTH = 8;
const MAX_COMMAND_TIMEOUT_S = 24 * 3600;

export const variables = {
  databaseUrl: optional({
    name: 'DATABASE_URL',
    group: 'Database',
    schema: parse.postgresUrl,
    example: 'postgres://steelthread:password@127.0.0.1:5432/steelthread',
    secret: true,
    description:
      'PostgreSQL 15 or newer. `steelthread dev`, `demo` and the tests start a server of their own when it is not set.',
  }),
  databasePoolMax: withDefault({
    name: 'DATABASE_POOL_MAX',
    group: 'Database',
    schema: parse.wholeNumber({ min: 2, max: 500 }),
    default: '20',
    unit: 'connections per process',
    example: '20',
    description: 'Upper bound of the connection pool of one API or worker process.',
  }),
  databaseStatementTimeoutMs: withDefault({
    name: 'DATABASE_STATEMENT_TIMEOUT',
    group: 'Database',
    schema: parse.secondsToMs({ min: 1, max: 600 }),
    default: '15',
    unit: 'seconds',
    example: '15',
    description: 'A statement that runs longer is ended by the database.',
  }),

  temporalAddress: optional({
    name: 'TEMPORAL_ADDRESS',
    group: 'Temporal',
    schema: parse.hostAndPort,
    example: '127.0.0.1:7233',
    description:
      'Address of the Temporal frontend. `steelthread dev`, `demo` and the tests start a dev server when it is not set.',
  }),
  temporalNamespace: withDefault({
    name: 'TEMPORAL_NAMESPACE',
    group: 'Temporal',
    schema: parse.text,
    default: 'default',
    example: 'default',
    description: 'Namespace the workflows live in.',
  }),
  temporalTaskQueue: withDefault({
    name: 'TEMPORAL_TASK_QUEUE',
    group: 'Temporal',
    schema: parse.text,
    default: 'steelthread',
    example: 'steelthread',
    description: 'Task queue of workflows and activities. API and worker must agree on it.',
  }),
  temporalTls: withDefault({
    name: 'TEMPORAL_TLS',
    group: 'Temporal',
    schema: parse.onOff,
    default: 'off',
    example: 'on',
    description: 'Speak TLS to Temporal. On by itself when a certificate, an authority or an API key is set.',
  }),
  temporalTlsCert: optional({
    name: 'TEMPORAL_TLS_CERT',
    group: 'Temporal',
    schema: parse.path,
    example: '/etc/steelthread/temporal.pem',
    description: 'File with the client certificate for Temporal (PEM). Needs TEMPORAL_TLS_KEY.',
  }),
  temporalTlsKey: optional({
    name: 'TEMPORAL_TLS_KEY',
    group: 'Temporal',
    schema: parse.path,
    example: '/etc/steelthread/temporal.key',
    description: 'File with the private key of TEMPORAL_TLS_CERT (PEM).',
  }),
  temporalTlsCa: optional({
    name: 'TEMPORAL_TLS_CA',
    group: 'Temporal',
    schema: parse.path,
    example: '/etc/steelthread/temporal-ca.pem',
    description: 'File with the certificate authority of the Temporal server (PEM), if it is a private one.',
  }),
  temporalTlsServerName: optional({
    name: 'TEMPORAL_TLS_SERVER_NAME',
    group: 'Temporal',
    schema: parse.text,
    example: 'temporal.internal',
    description:
      'Name to expect in the certificate of the Temporal server, where it differs from the address.',
  }),
  temporalApiKey: optional({
    name: 'TEMPORAL_API_KEY',
    group: 'Temporal',
    schema: parse.text,
    example: '<api key>',
    secret: true,
    description: 'API key for Temporal Cloud.',
  }),
  temporalCliPath: optional({
    name: 'TEMPORAL_CLI_PATH',
    group: 'Temporal',
    schema: parse.path,
    example: '/usr/local/bin/temporal',
    description: 'The `temporal` program to start the dev server with. Only for `dev`, `demo` and tests.',
  }),

  listen: withDefault({
    name: 'LISTEN',
    group: 'HTTP',
    schema: parse.listeners,
    default: '8000:steel',
    example: '8000:steel,8080:dex,5500:ananta',
    description:
      'Addresses of the API: a comma list of `[host:]port:profile`. The profile (steel, dex, ananta) decides only `/`, `/health` and the dialect of unknown paths. Port 0 takes a free one and prints it. The host is 127.0.0.1, in production 0.0.0.0.',
  }),
  tlsCert: optional({
    name: 'TLS_CERT',
    group: 'HTTP',
    schema: parse.path,
    example: '/etc/steelthread/tls.pem',
    description: 'File with the certificate chain of the API (PEM). Needs TLS_KEY.',
  }),
  tlsKey: optional({
    name: 'TLS_KEY',
    group: 'HTTP',
    schema: parse.path,
    example: '/etc/steelthread/tls.key',
    description: 'File with the private key of TLS_CERT (PEM).',
  }),
  trustProxyHops: withDefault({
    name: 'TRUST_PROXY_HOPS',
    group: 'HTTP',
    schema: parse.wholeNumber({ min: 0, max: 10 }),
    default: '0',
    unit: 'proxies',
    example: '1',
    description:
      'How many reverse proxies in front of the API may set X-Forwarded-For and X-Forwarded-Proto.',
  }),
  allowPlaintext: withDefault({
    name: 'ALLOW_PLAINTEXT',
    group: 'HTTP',
    schema: parse.onOff,
    default: 'off',
    example: 'on',
    description: 'Permit an address that others can reach without TLS and without a trusted proxy.',
  }),
  publicUrl: optional({
    name: 'PUBLIC_URL',
    group: 'HTTP',
    schema: parse.httpUrl,
    example: 'https://steelthread.example.com',
    description:
      'Address under which clients and agents reach the API; installers and callbacks name it. Without it, the first listener is named.',
  }),
  corsOrigins: optional({
    name: 'BACKEND_CORS_ORIGINS',
    group: 'HTTP',
    schema: parse.origins,
    example: 'https://console.example.com,https://ops.example.com',
    description:
      'Browser origins that may call the API: a comma list or a JSON array of exact origins, never `*`.',
  }),
  rateLimit: withDefault({
    name: 'RATE_LIMIT',
    group: 'HTTP',
    schema: parse.onOff,
    default: 'on',
    example: 'on',
    description: 'Rate limits of the API. `off` is for load tests and refused in production.',
  }),

  adminUsername: withDefault({
    name: 'ADMIN_USERNAME',
    group: 'Identity and keys',
    schema: parse.text,
    default: 'admin',
    example: 'admin',
    description: 'Name of the first administrator; read only at the first start.',
  }),
  adminEmail: withDefault({
    name: 'ADMIN_EMAIL',
    group: 'Identity and keys',
    schema: parse.text,
    default: 'admin@localhost',
    example: 'ops@example.com',
    description: 'E-mail address of the first administrator; read only at the first start.',
  }),
  adminPassword: optional({
    name: 'ADMIN_PASSWORD',
    group: 'Identity and keys',
    schema: parse.atLeast(MIN_ADMIN_PASSWORD_LENGTH),
    example: '<a long passphrase>',
    secret: true,
    description:
      'Password of the first administrator; read only at the first start. Without it, one is generated and printed once.',
  }),
  agentToken: optional({
    name: 'AGENT_TOKEN',
    group: 'Identity and keys',
    schema: parse.atLeast(MIN_AGENT_TOKEN_LENGTH),
    example: '<at least 16 random characters>',
    secret: true,
    description:
      'Shared token of the `system` principal, for agents and callbacks of existing installations. Once it was rotated, the new token replaces this value until another one is set here.',
  }),
  agentTokenAdmin: withDefault({
    name: 'AGENT_TOKEN_ADMIN',
    group: 'Identity and keys',
    schema: parse.onOff,
    default: 'off',
    example: 'off',
    description:
      'Give the holder of AGENT_TOKEN the rights of an administrator. Only for installations that relied on it.',
  }),
  secretKeys: optional({
    name: 'SECRET_KEY',
    group: 'Identity and keys',
    schema: parse.signingKeys(MIN_SIGNING_KEY_LENGTH),
    example: '<at least 32 random characters>',
    secret: true,
    description:
      'Keys from which those of access and refresh tokens are derived, one for each use: a comma list, of which the first signs and all verify. Without it, one is generated and kept in STEELTHREAD_HOME; in production it must be set.',
  }),
  settingsEncryptionKeys: optional({
    name: 'SETTINGS_ENCRYPTION_KEY',
    group: 'Identity and keys',
    schema: parse.fernetKeys,
    example: '<32 bytes in URL-safe base64>',
    secret: true,
    description:
      'Fernet keys of encrypted settings and second factors: a comma list, of which the first encrypts and all decrypt. Without it, one is generated and kept in STEELTHREAD_HOME; in production it must be set.',
  }),
  accessTokenTtlMs: optional({
    name: 'ACCESS_TOKEN_EXPIRE_MINUTES',
    group: 'Identity and keys',
    schema: parse.minutesToMs({ min: 1, max: 11_520 }),
    unit: 'minutes',
    example: '15',
    settingsOverridable: true,
    description:
      'Life of an access token on every family. Without it: 15 for ananta, alice and house, 30 for steel, 480 for dex.',
  }),
  registration: withDefault({
    name: 'REGISTRATION',
    group: 'Identity and keys',
    schema: parse.oneOf('open', 'off'),
    default: { development: 'open', production: 'off' },
    example: 'off',
    settingsOverridable: true,
    description:
      'Whether people may create an account themselves. It gets the role `user`: chat and own things only.',
  }),

  anthropicApiKey: optional({
    name: 'ANTHROPIC_API_KEY',
    group: 'Language model',
    schema: parse.text,
    example: '<api key>',
    secret: true,
    settingsOverridable: true,
    description: 'Key for Claude. Without it a mock model answers and says so wherever it speaks.',
  }),
  anthropicModel: withDefault({
    name: 'ANTHROPIC_MODEL',
    group: 'Language model',
    schema: parse.text,
    default: 'claude-sonnet-5-5',
    example: 'claude-sonnet-5-5',
    settingsOverridable: true,
    description: 'Model that proposes commands and judges results.',
  }),
  anthropicBaseUrl: withDefault({
    name: 'ANTHROPIC_BASE_URL',
    group: 'Language model',
    schema: parse.httpUrl,
    default: 'https://api.anthropic.com',
    example: 'https://api.anthropic.com',
    description: 'Address of the Messages API, for gateways.',
  }),
  llmBudgetTaskUsd: withDefault({
    name: 'LLM_BUDGET_TASK_USD',
    group: 'Language model',
    schema: parse.dollars,
    default: '1',
    unit: 'US dollars',
    example: '1',
    settingsOverridable: true,
    description: 'The most one task may spend on the model.',
  }),
  llmBudgetUserDayUsd: withDefault({
    name: 'LLM_BUDGET_USER_DAY_USD',
    group: 'Language model',
    schema: parse.dollars,
    default: '10',
    unit: 'US dollars',
    example: '10',
    settingsOverridable: true,
    description: 'The most one user may spend on the model in a day (UTC).',
  }),
  llmBudgetDayUsd: withDefault({
    name: 'LLM_BUDGET_DAY_USD',
    group: 'Language model',
    schema: parse.dollars,
    default: '50',
    unit: 'US dollars',
    example: '50',
    settingsOverridable: true,
    description: 'The most all users together may spend on the model in a day (UTC).',
  }),
  contextRoot: optional({
    name: 'CONTEXT_ROOT',
    group: 'Language model',
    schema: parse.path,
    example: '/srv/project',
    description:
      'Folder on the machine of the server whose source files `/api/sgpt/context` and `/api/sgpt/source` read. ' +
      'Whoever may read agents may read it. Without it there is no context.',
  }),

  defaultTimeoutMs: withDefault({
    name: 'DEFAULT_TIMEOUT',
    group: 'Commands',
    schema: parse.secondsToMs({ min: 1, max: MAX_COMMAND_TIMEOUT_S }),
    default: '30',
    unit: 'seconds',
    example: '30',
    settingsOverridable: true,
    description: 'Timeout of a command that names none.',
  }),
  maxTimeoutMs: withDefault({
    name: 'MAX_TIMEOUT',
    group: 'Commands',
    schema: parse.secondsToMs({ min: 1, max: MAX_COMMAND_TIMEOUT_S }),
    default: '300',
    unit: 'seconds',
    example: '300',
    settingsOverridable: true,
    description: 'The longest timeout a command may ask for.',
  }),
  outputCapBytes: withDefault({
    name: 'OUTPUT_CAP_BYTES',
    group: 'Commands',
    schema: parse.wholeNumber({ min: KIBIBYTE, max: 1024 * MEBIBYTE }),
    default: String(16 * MEBIBYTE),
    unit: 'bytes per stream',
    example: String(16 * MEBIBYTE),
    settingsOverridable: true,
    description:
      'Output kept of each stream of a command. What is cut is flagged, its length and hash are kept.',
  }),
  shellPath: optional({
    name: 'SHELL_PATH',
    group: 'Commands',
    schema: parse.path,
    example: '/bin/bash',
    description: 'Shell of the local agent. Without it, the agent takes bash or sh.',
  }),
  localAgentId: withDefault({
    name: 'LOCAL_AGENT_ID',
    group: 'Commands',
    schema: parse.text,
    default: 'local',
    example: 'local',
    description: 'Agent that runs what a family route asks to run on the server itself.',
  }),
  hostTerminal: withDefault({
    name: 'HOST_TERMINAL',
    group: 'Terminals',
    schema: parse.onOff,
    default: 'off',
    example: 'on',
    description:
      "Whether `/ws/terminal` without an `agent_id` opens a terminal on the API's own host, by the agent named in LOCAL_AGENT_ID.",
  }),
  terminalIdleMs: withDefault({
    name: 'TERMINAL_IDLE_MINUTES',
    group: 'Terminals',
    schema: parse.minutesToMs({ min: 1, max: 10_080 }),
    default: '30',
    unit: 'minutes',
    example: '30',
    description: 'A terminal in which nothing is typed for so long is ended.',
  }),
  terminalDetachedMs: withDefault({
    name: 'TERMINAL_DETACHED_MINUTES',
    group: 'Terminals',
    schema: parse.minutesToMs({ min: 1, max: 10_080 }),
    default: '5',
    unit: 'minutes',
    example: '5',
    description: 'A terminal whose client has gone waits for it so long, then it is ended.',
  }),
  terminalMaxMs: withDefault({
    name: 'TERMINAL_MAX_MINUTES',
    group: 'Terminals',
    schema: parse.minutesToMs({ min: 1, max: 10_080 }),
    default: '480',
    unit: 'minutes',
    example: '480',
    description: 'A terminal is ended after so long in any case.',
  }),
  terminalRecording: withDefault({
    name: 'TERMINAL_RECORDING',
    group: 'Terminals',
    schema: parse.onOff,
    default: 'on',
    example: 'on',
    description: 'Record what terminals show, as asciicast v2.',
  }),
  terminalRecordInput: withDefault({
    name: 'TERMINAL_RECORD_INPUT',
    group: 'Terminals',
    schema: parse.onOff,
    default: 'off',
    example: 'off',
    description:
      'Record what is typed as well, and show its beginning in the terminal log. Passwords are typed too.',
  }),
  terminalRetentionMs: withDefault({
    name: 'TERMINAL_RETENTION_DAYS',
    group: 'Terminals',
    schema: parse.daysToMs({ min: 1, max: 3_650 }),
    default: '90',
    unit: 'days',
    example: '90',
    description: 'Ended terminal sessions, their recordings and the terminal log are deleted after so long.',
  }),
  agentUrlAllow: withDefault({
    name: 'AGENT_URL_ALLOW',
    group: 'Commands',
    schema: parse.textList,
    default: { development: '127.0.0.0/8,::1/128,localhost', production: '' },
    example: '10.20.0.0/16,agents.example.com',
    description: 'Networks and hosts the hub may dial for agents that are addressed by URL: a comma list.',
  }),
  webhookUrlAllow: withDefault({
    name: 'WEBHOOK_URL_ALLOW',
    group: 'Commands',
    schema: parse.textList,
    default: '',
    example: '10.20.0.0/16,hooks.internal',
    description:
      'Networks and hosts that webhooks and callbacks may go to although they are not public: a comma list.',
  }),

  workerMetricsListen: optional({
    name: 'WORKER_METRICS_LISTEN',
    group: 'Service',
    schema: parse.listenAddress,
    example: '127.0.0.1:9464',
    description:
      'host:port on which a worker serves /metrics and /livez, without authentication. Not set: it does not. The API has its own.',
  }),
  nodeEnv: withDefault({
    name: 'NODE_ENV',
    group: 'Service',
    schema: parse.oneOf('development', 'test', 'production'),
    default: 'development',
    example: 'production',
    description: 'development, test or production. Production needs explicit keys and protected addresses.',
  }),
  steelthreadHome: withDefault({
    name: 'STEELTHREAD_HOME',
    group: 'Service',
    schema: parse.path,
    default: '~/.steelthread',
    example: '~/.steelthread',
    description: 'Folder for generated keys and for the data of `steelthread dev`.',
  }),
  steelthreadCache: withDefault({
    name: 'STEELTHREAD_CACHE',
    group: 'Service',
    schema: parse.path,
    default: '~/.cache/steelthread',
    example: '~/.cache/steelthread',
    description:
      'Folder for downloaded or built tools; may be deleted at any time. XDG_CACHE_HOME is honoured.',
  }),
  logLevel: withDefault({
    name: 'LOG_LEVEL',
    group: 'Service',
    schema: parse.oneOf('trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'),
    default: 'info',
    example: 'info',
    settingsOverridable: true,
    description: 'Least severe level that is logged.',
  }),
  logFormat: withDefault({
    name: 'LOG_FORMAT',
    group: 'Service',
    schema: parse.oneOf('json', 'pretty'),
    default: { development: 'pretty', production: 'json' },
    example: 'json',
    description: 'One JSON object a line, or short lines for people.',
  }),
  projectName: withDefault({
    name: 'PROJECT_NAME',
    group: 'Service',
    schema: parse.text,
    default: 'Steelthread',
    example: 'Steelthread',
    description: 'Name of the installation in documentation and replies.',
  }),
  version: optional({
    name: 'VERSION',
    group: 'Service',
    schema: parse.text,
    example: '1.2.3',
    description: 'Version in documentation and replies. Without it, the version of the package.',
  }),
  description: withDefault({
    name: 'DESCRIPTION',
    group: 'Service',
    schema: parse.text,
    default: 'Durable, human-approved command execution on fleets of machines',
    example: 'Fleet operations of Example Ltd',
    description: 'Description of the installation in the OpenAPI document.',
  }),
  orchestratorId: withDefault({
    name: 'ORCH_ID',
    group: 'Service',
    schema: parse.text,
    default: 'o-glm',
    example: 'o-glm',
    description: 'Name of this orchestrator in events and logs of the steel family.',
  }),
  devLogs: withDefault({
    name: 'DEV_LOGS',
    group: 'Service',
    schema: parse.onOff,
    default: 'off',
    example: 'on',
    description:
      'Also write requests, replies and the stacks of errors, never bodies, to `orch-<ORCH_ID>.log` in DEV_LOGS_DIR. For development: each line is written before the next one runs.',
  }),
  devLogsDir: withDefault({
    name: 'DEV_LOGS_DIR',
    group: 'Service',
    schema: parse.path,
    default: '.devlogs',
    example: '.devlogs',
    description: 'Folder of DEV_LOGS, from where the process was started. Six files of 10 MiB at most.',
  }),
} as const satisfies Record<string, Variable<unknown>>;

export type Variables = typeof variables;

export type ConfigKey = keyof Variables;

/** Values as the table parses them, before what depends on several of them is settled. */
export type ParsedValues = { [K in ConfigKey]: Variables[K] extends Variable<infer T> ? T : never };

/** Rows in the order of the table, with their key in `Config`. */
export function listVariables(): Array<{ key: ConfigKey; variable: Variable<unknown> }> {
  return Object.entries(variables).map(([key, variable]) => ({ key: key as ConfigKey, variable }));
}

/** Keys that an administrator may override in `settings`. */
export function settingsOverridableKeys(): ConfigKey[] {
  return listVariables()
    .filter(({ variable }) => variable.settingsOverridable)
    .map(({ key }) => key);
}

/** The default of a variable as text, or null. */
export function defaultText(variable: Variable<unknown>, production: boolean): string | null {
  if (variable.default === null || typeof variable.default === 'string') return variable.default;
  return production ? variable.default.production : variable.default.development;
}
