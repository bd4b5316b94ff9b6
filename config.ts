/**
 * Configuration from the environment: parsed once, frozen, every problem reported together. This is the only file
 * that reads `process.env`. The table of variables is in `config/variables.ts`.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { generateFernetKey, generateKey, keepSecret } from './config/kept-secrets.ts';
import { listOverridable } from './config/overrides.ts';
import type { ListenerProfile } from './config/parsers.ts';
import {
  type ConfigKey,
  defaultText,
  listVariables,
  type ParsedValues,
  variables,
} from './config/variables.ts';

export { generateKey, keepSecret } from './config/kept-secrets.ts';
export type { ListenerProfile } from './config/parsers.ts';
export { settingsOverridableKeys } from './config/variables.ts';

export type Environment = Record<string, string | undefined>;

/** One address the API listens on; port 0 asks the system for a free one. */
export interface Listener {
  host: string;
  port: number;
  profile: ListenerProfile;
}

type Settled = 'listen' | 'secretKeys' | 'settingsEncryptionKeys' | 'version' | 'corsOrigins';

/** Every variable of the table under its key (see `config/variables.ts`), and what follows from several of them. */
export interface Config extends Readonly<Omit<ParsedValues, Settled>> {
  readonly role: Role;
  readonly production: boolean;
  readonly listen: readonly Listener[];
  /** The first signs, all verify. Empty for roles that sign nothing. */
  readonly secretKeys: readonly string[];
  /** The first encrypts, all decrypt. Empty for roles that read no settings. */
  readonly settingsEncryptionKeys: readonly string[];
  readonly version: string;
  readonly corsOrigins: readonly string[];
  /** Texts of the variables that settings may override, by name; of secrets only that they are `set`. null: not set. */
  readonly overridableTexts: Readonly<Record<string, string | null>>;
  /** Sentences to log once at the start; nothing that stops it. */
  readonly warnings: readonly string[];
}

/** The configuration of a process that cannot run without the database and Temporal. */
export interface ServiceConfig extends Config {
  readonly databaseUrl: string;
  readonly temporalAddress: string;
}

/** The configuration of a process that needs the database alone. */
export interface DatabaseConfig extends Config {
  readonly databaseUrl: string;
}

/** What each kind of process needs: a missing value is a problem only for those that use it. */
const roles = {
  api: { database: true, temporal: true, keys: true, listens: true },
  worker: { database: true, temporal: true, keys: true, listens: false },
  migrate: { database: true, temporal: false, keys: false, listens: false },
  dev: { database: false, temporal: false, keys: true, listens: true },
  demo: { database: false, temporal: false, keys: true, listens: true },
  cli: { database: false, temporal: false, keys: false, listens: false },
} as const;

export type Role = keyof typeof roles;

export type ConfigFor<R extends Role> = R extends 'api' | 'worker'
  ? ServiceConfig
  : R extends 'migrate'
    ? DatabaseConfig
    : Config;

/** One thing that is wrong: which variable, what about it, and what to do. */
export interface ConfigProblem {
  variable: string;
  problem: string;
  fix: string;
}

/** Every problem of the environment at once; `message` is meant to be printed as it is. */
export class ConfigError extends Error {
  readonly problems: readonly ConfigProblem[];

  constructor(problems: readonly ConfigProblem[]) {
    const lines = problems.map(({ variable, problem, fix }) => `  ${variable} ${problem}.\n    Fix: ${fix}`);
    const count = problems.length === 1 ? '1 problem' : `${problems.length} problems`;
    super(`The configuration has ${count}:\n${lines.join('\n')}`);
    this.name = 'ConfigError';
    this.problems = problems;
  }
}

/** The configuration of this process, from its environment. @throws ConfigError */
export function loadConfig<R extends Role>(role: R): ConfigFor<R> {
  return parseConfig(process.env, { role });
}

/** The values of `names` that this process inherited; the base of the environment of child processes. */
export function inheritedEnvironment(names: readonly string[]): Record<string, string> {
  const pairs = names.map((name) => [name, process.env[name]] as const);
  return Object.fromEntries(pairs.filter((pair): pair is [string, string] => pair[1] !== undefined));
}

/** The whole environment of this process, for child processes that are this program again. */
export function wholeEnvironment(): Record<string, string> {
  return inheritedEnvironment(Object.keys(process.env));
}

/**
 * A frozen configuration. An empty value counts as not set. Outside production, missing keys are generated and
 * kept in STEELTHREAD_HOME.
 * @throws ConfigError with every problem
 */
export function parseConfig<R extends Role>(env: Environment, profile: { role: R }): ConfigFor<R> {
  const problems: ConfigProblem[] = [];
  const production = env.NODE_ENV?.trim() === 'production';
  const values = parseVariables(env, production, problems);
  const needs = roles[profile.role];
  const listen = settleListeners(values, production);

  checkNeeds(values, profile.role, problems);
  if (needs.keys && production) checkProductionKeys(values, problems);
  if (needs.listens) checkListeners(values, listen, production, problems);
  checkPairs(values, problems);
  if (problems.length > 0) throw new ConfigError(uniqueProblems(problems));

  const complete = values as ParsedValues;
  const keys = needs.keys ? settleKeys(complete) : { secretKeys: [], settingsEncryptionKeys: [] };
  const config: Config = {
    ...complete,
    ...keys,
    role: profile.role,
    production,
    listen,
    corsOrigins: complete.corsOrigins ?? [],
    version: complete.version ?? packageVersion(),
    temporalTls: complete.temporalTls || hasTemporalTls(complete),
    overridableTexts: readOverridableTexts(env, production),
    warnings: findWarnings(env, complete, needs.listens),
  };
  return deepFreeze(config) as ConfigFor<R>;
}

/** Values that parsed; those that did not are missing and named in `problems`. */
function parseVariables(
  env: Environment,
  production: boolean,
  problems: ConfigProblem[],
): Partial<ParsedValues> {
  const values: Partial<Record<ConfigKey, unknown>> = {};
  for (const { key, variable } of listVariables()) {
    const text = textOf(key, env, production);
    if (text === null) {
      values[key] = null;
      continue;
    }
    const result = variable.schema.safeParse(text);
    if (result.success) values[key] = result.data;
    else {
      const problem = result.error.issues.map((issue) => issue.message).join('; ');
      problems.push({ variable: variable.name, problem, fix: `set ${variable.name}=${variable.example}` });
    }
  }
  return values as Partial<ParsedValues>;
}

/** As given, else its default; an empty value counts as not set. */
function textOf(key: ConfigKey, env: Environment, production: boolean): string | null {
  const given = env[variables[key].name]?.trim();
  return given === undefined || given === '' ? defaultFor(key, env, production) : given;
}

function readOverridableTexts(env: Environment, production: boolean): Record<string, string | null> {
  return Object.fromEntries(
    listOverridable().map(({ key, variable }) => {
      const text = textOf(key, env, production);
      return [variable.name, variable.secret === true && text !== null ? 'set' : text];
    }),
  );
}

function defaultFor(key: ConfigKey, env: Environment, production: boolean): string | null {
  if (key === 'steelthreadCache' && env.XDG_CACHE_HOME) return join(env.XDG_CACHE_HOME, 'steelthread');
  return defaultText(variables[key], production);
}

function settleListeners(values: Partial<ParsedValues>, production: boolean): Listener[] {
  const defaultHost = production ? '0.0.0.0' : '127.0.0.1';
  return (values.listen ?? []).map((listener) => ({ ...listener, host: listener.host ?? defaultHost }));
}

function checkNeeds(values: Partial<ParsedValues>, role: Role, problems: ConfigProblem[]): void {
  const orDev = 'or run `steelthread dev`, which starts its own';
  for (const [needed, key] of [
    [roles[role].database, 'databaseUrl'],
    [roles[role].temporal, 'temporalAddress'],
  ] as const) {
    const { name, example } = variables[key];
    if (needed && values[key] === null) {
      problems.push({ variable: name, problem: 'is not set', fix: `set ${name}=${example}, ${orDev}` });
    }
  }
}

function checkProductionKeys(values: Partial<ParsedValues>, problems: ConfigProblem[]): void {
  const fixes = {
    secretKeys: 'set SECRET_KEY to the output of `openssl rand -base64 48`',
    settingsEncryptionKeys:
      "set SETTINGS_ENCRYPTION_KEY to the output of `openssl rand -base64 32 | tr '+/' '-_'` and keep it safe",
  };
  for (const key of ['secretKeys', 'settingsEncryptionKeys'] as const) {
    if (values[key] !== null) continue;
    const problem = 'is not set, and production never generates keys';
    problems.push({ variable: variables[key].name, problem, fix: fixes[key] });
  }
}

function checkListeners(
  values: Partial<ParsedValues>,
  listen: Listener[],
  production: boolean,
  problems: ConfigProblem[],
): void {
  if (values.listen?.length === 0) {
    problems.push({ variable: 'LISTEN', problem: 'names no address', fix: 'set LISTEN=8000:steel' });
  }
  const taken = new Set<string>();
  for (const { host, port } of listen) {
    const address = `${host}:${port}`;
    if (port !== 0 && taken.has(address)) {
      problems.push({
        variable: 'LISTEN',
        problem: `names ${address} twice`,
        fix: 'give each listener its own port',
      });
    }
    taken.add(address);
  }
  const open = listen.find(({ host }) => !isLoopback(host));
  const isProtected =
    values.tlsCert != null || (values.trustProxyHops ?? 0) > 0 || values.allowPlaintext === true;
  if (open !== undefined && !isProtected) {
    problems.push({
      variable: 'LISTEN',
      problem: `binds ${open.host}, which other machines can reach, without protection`,
      fix: 'set TLS_CERT and TLS_KEY, or TRUST_PROXY_HOPS when a proxy ends TLS in front, or ALLOW_PLAINTEXT=on, or bind 127.0.0.1',
    });
  }
  if (production && values.rateLimit === false) {
    problems.push({
      variable: 'RATE_LIMIT',
      problem: 'is off in production',
      fix: 'set RATE_LIMIT=on or remove it',
    });
  }
}

function checkPairs(values: Partial<ParsedValues>, problems: ConfigProblem[]): void {
  for (const [one, other] of [
    ['tlsCert', 'tlsKey'],
    ['temporalTlsCert', 'temporalTlsKey'],
  ] as const) {
    if ((values[one] == null) === (values[other] == null)) continue;
    const [missing, given] = values[one] == null ? [one, other] : [other, one];
    const { name, example } = variables[missing];
    const problem = `is not set, but ${variables[given].name} is`;
    problems.push({ variable: name, problem, fix: `set ${name}=${example}` });
  }
  // Whoever holds the shared token could sign access tokens of users.
  if (values.agentToken != null && values.secretKeys?.includes(values.agentToken)) {
    const fix = 'set AGENT_TOKEN to random characters of its own';
    problems.push({ variable: 'AGENT_TOKEN', problem: 'is also one of SECRET_KEY', fix });
  }
  const { defaultTimeoutMs, maxTimeoutMs } = values;
  if (defaultTimeoutMs !== undefined && maxTimeoutMs !== undefined && defaultTimeoutMs > maxTimeoutMs) {
    const fix = `set DEFAULT_TIMEOUT to at most ${maxTimeoutMs / 1000}, or raise MAX_TIMEOUT`;
    problems.push({ variable: 'DEFAULT_TIMEOUT', problem: 'is longer than MAX_TIMEOUT', fix });
  }
}

/** One problem a variable is enough where a parse failure and a rule name the same one. */
function uniqueProblems(problems: ConfigProblem[]): ConfigProblem[] {
  const seen = new Set<string>();
  return problems.filter(({ variable, problem }) => {
    const key = `${variable} ${problem}`;
    return !seen.has(key) && seen.add(key);
  });
}

function settleKeys(values: ParsedValues): Pick<Config, 'secretKeys' | 'settingsEncryptionKeys'> {
  const home = values.steelthreadHome;
  return {
    secretKeys: values.secretKeys ?? [keepSecret(home, 'secret-key', generateKey)],
    settingsEncryptionKeys: values.settingsEncryptionKeys ?? [
      keepSecret(home, 'settings-encryption-key', generateFernetKey),
    ],
  };
}

function findWarnings(env: Environment, values: ParsedValues, listens: boolean): string[] {
  const openAi = Object.keys(env).filter((name) => name.startsWith('OPENAI_') && env[name]);
  return [
    ...openAi
      .sort()
      .map((name) => `${name} is not read: use ${name.replace('OPENAI_', 'ANTHROPIC_')} (use ANTHROPIC_*)`),
    ...(values.agentTokenAdmin && values.agentToken !== null
      ? ['AGENT_TOKEN_ADMIN is on: whoever holds AGENT_TOKEN is an administrator']
      : []),
    ...(listens && values.allowPlaintext
      ? ['ALLOW_PLAINTEXT is on: passwords and tokens may cross the network unencrypted']
      : []),
  ];
}

function hasTemporalTls(values: ParsedValues): boolean {
  return values.temporalTlsCert !== null || values.temporalTlsCa !== null || values.temporalApiKey !== null;
}

/** True for an address only this machine can reach. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127\./.test(host);
}

/** From the package file beside this one, or one folder up when this file runs from a build folder. */
export function packageVersion(): string {
  for (const place of ['./package.json', '../package.json']) {
    try {
      const parsed: unknown = JSON.parse(readFileSync(new URL(place, import.meta.url), 'utf8'));
      if (typeof parsed === 'object' && parsed !== null && 'version' in parsed) return String(parsed.version);
    } catch {
      // Not there: try the next place.
    }
  }
  return '0.0.0';
}

function deepFreeze<T>(value: T): T {
  if (typeof value === 'object' && value !== null) {
    Object.values(value).forEach(deepFreeze);
    Object.freeze(value);
  }
  return value;
}
