/**
 * The agent's configuration: command-line flags, then environment, then defaults. All problems are told at once.
 */
import { readFileSync, statSync } from 'node:fs';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { z } from 'zod';
import { agentIdSchema, type Delivery, deliveries } from '../contracts/agent-protocol.ts';
import { DEFAULT_MAX_PARALLEL } from './agent.ts';
import { type AgentIdentity, readIdentity } from './home.ts';
import { errorText } from './log.ts';
import type { TerminalOptions } from './terminals.ts';
import type { TemporalAddress } from './transports/temporal.ts';

/** Most commands an agent may run at once. */
const MAX_MAX_PARALLEL = 1_000;

export interface AgentConfig {
  url: string;
  home: string;
  /** What the agent is called instead of its machine's name. */
  name: string | undefined;
  /** Where commands run that name no directory; undefined = `<home>/work`. */
  workDir: string | undefined;
  delivery: Delivery;
  maxParallel: number;
  /** Absent: no terminals. */
  terminals: TerminalOptions | undefined;
  debug: boolean;
  /** Known identity, or the token to enrol with. */
  identity: AgentIdentity | { enrolmentToken: string; agentId: string | undefined };
  temporal: TemporalAddress | undefined;
}

export type ConfigResult =
  | { ok: true; config: AgentConfig }
  | { ok: false; problems: string[] }
  | { ok: 'help' };

export const agentUsage = `steelthread agent — runs approved commands on this machine

  flag             environment                       default
  --config         STEELTHREAD_AGENT_CONFIG          a JSON file that holds any of the variables below
  --url            STEELTHREAD_URL                   (required) base URL of the server
  --home           STEELTHREAD_AGENT_HOME            ~/.steelthread/agent
  --work-dir       STEELTHREAD_AGENT_WORK_DIR        <home>/work, where commands run that name no directory
  --name           STEELTHREAD_AGENT_NAME            the machine's own name
  --agent-id       STEELTHREAD_AGENT_ID              the id from enrolment
                   STEELTHREAD_AGENT_TOKEN           the token from enrolment
  --token-file     STEELTHREAD_AGENT_TOKEN_FILE      a file that holds the token
                   STEELTHREAD_ENROL_TOKEN           one-time token, used when there is no identity yet
  --delivery       STEELTHREAD_AGENT_DELIVERY        websocket (or temporal)
  --max-parallel   STEELTHREAD_AGENT_MAX_PARALLEL    ${DEFAULT_MAX_PARALLEL} commands at once, more are queued
  --terminal       STEELTHREAD_AGENT_TERMINAL=1      offer terminals to people who may open them (Linux, with node-pty)
                   STEELTHREAD_AGENT_TERMINAL_SHELL  program of a terminal: the user's login shell, else bash or sh
                   STEELTHREAD_AGENT_TEMPORAL_ADDRESS, _NAMESPACE, _TASK_QUEUE   what the server says
  --allow-plaintext  STEELTHREAD_AGENT_ALLOW_PLAINTEXT=1   http:// to another machine, where anybody in between decides what runs
  --debug          STEELTHREAD_AGENT_DEBUG=1         log debug events
`;

const flagOptions = {
  config: { type: 'string' },
  url: { type: 'string' },
  home: { type: 'string' },
  'work-dir': { type: 'string' },
  name: { type: 'string' },
  'agent-id': { type: 'string' },
  'token-file': { type: 'string' },
  delivery: { type: 'string' },
  'max-parallel': { type: 'string' },
  terminal: { type: 'boolean' },
  'allow-plaintext': { type: 'boolean' },
  debug: { type: 'boolean' },
  help: { type: 'boolean', short: 'h' },
} as const;

/** Parse the agent's configuration. Reads the files it names and the stored identity; never throws. */
export function parseAgentConfig(
  args: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
): ConfigResult {
  const problems: string[] = [];
  const read = <T>(fix: string, act: () => T): T | undefined => {
    try {
      return act();
    } catch (error) {
      problems.push(`${fix}: ${errorText(error)}`);
      return undefined;
    }
  };
  const flags =
    read('flags', () => parseArgs({ args: [...args], options: flagOptions, strict: true }).values) ?? {};
  if (flags.help) return { ok: 'help' };
  const settingsFile = flags.config ?? (env.STEELTHREAD_AGENT_CONFIG?.trim() || undefined);
  const settings =
    settingsFile === undefined
      ? {}
      : (read('STEELTHREAD_AGENT_CONFIG (--config)', () => readSettings(settingsFile)) ?? {});
  const variable = (name: string): string | undefined =>
    env[name]?.trim() || settings[name]?.trim() || undefined;

  const allowsPlaintext = flags['allow-plaintext'] ?? variable('STEELTHREAD_AGENT_ALLOW_PLAINTEXT') === '1';
  const url = flags.url ?? variable('STEELTHREAD_URL');
  if (url === undefined) problems.push('STEELTHREAD_URL (--url) is missing: the base URL of the server');
  else if (!/^(https?|wss?):\/\/[^/]/.test(url) || !URL.canParse(url)) {
    problems.push(`STEELTHREAD_URL (--url) must be an http(s) URL, got "${url}"`);
  } else if (isPlaintextToOthers(url) && !allowsPlaintext) {
    problems.push(
      'STEELTHREAD_URL (--url) must be https:// for another machine: the token, and what runs here, would cross the ' +
        'network unprotected (STEELTHREAD_AGENT_ALLOW_PLAINTEXT=1 accepts that)',
    );
  }

  const home = resolve(
    flags.home ?? variable('STEELTHREAD_AGENT_HOME') ?? join(homedir(), '.steelthread', 'agent'),
  );

  const givenWorkDir = flags['work-dir'] ?? variable('STEELTHREAD_AGENT_WORK_DIR');
  const workDir = givenWorkDir === undefined ? undefined : resolve(givenWorkDir);
  if (workDir !== undefined && !statSync(workDir, { throwIfNoEntry: false })?.isDirectory()) {
    problems.push(`STEELTHREAD_AGENT_WORK_DIR (--work-dir) must be a directory, got "${workDir}"`);
  }

  const delivery = deliveries.find(
    (name) => name === (flags.delivery ?? variable('STEELTHREAD_AGENT_DELIVERY') ?? 'websocket'),
  );
  if (delivery === undefined) {
    problems.push(`STEELTHREAD_AGENT_DELIVERY (--delivery) must be one of ${deliveries.join(', ')}`);
  }

  const maxParallel = Number(
    flags['max-parallel'] ?? variable('STEELTHREAD_AGENT_MAX_PARALLEL') ?? DEFAULT_MAX_PARALLEL,
  );
  if (!Number.isInteger(maxParallel) || maxParallel < 1 || maxParallel > MAX_MAX_PARALLEL) {
    problems.push(
      `STEELTHREAD_AGENT_MAX_PARALLEL (--max-parallel) must be a whole number from 1 to ${MAX_MAX_PARALLEL}`,
    );
  }

  const name = flags.name ?? variable('STEELTHREAD_AGENT_NAME');
  const agentId = flags['agent-id'] ?? variable('STEELTHREAD_AGENT_ID');
  if (agentId !== undefined && !agentIdSchema.safeParse(agentId).success) {
    problems.push('STEELTHREAD_AGENT_ID (--agent-id) must match [A-Za-z0-9][A-Za-z0-9._:-]{0,127}');
  }
  const tokenFile = flags['token-file'] ?? variable('STEELTHREAD_AGENT_TOKEN_FILE');
  const token =
    variable('STEELTHREAD_AGENT_TOKEN') ??
    (tokenFile === undefined
      ? undefined
      : read('STEELTHREAD_AGENT_TOKEN_FILE (--token-file)', () => readFileSync(tokenFile, 'utf8').trim()));
  const stored = read(`${join(home, 'agent.json')} is damaged (delete it to enrol again)`, () =>
    readIdentity(home),
  );
  const enrolmentToken = variable('STEELTHREAD_ENROL_TOKEN');

  const identity = identityOf({ agentId, token, stored: stored ?? null, enrolmentToken });
  if (identity === null) {
    problems.push(
      token !== undefined
        ? 'STEELTHREAD_AGENT_ID (--agent-id) is missing: the id that belongs to STEELTHREAD_AGENT_TOKEN'
        : 'no identity: set STEELTHREAD_ENROL_TOKEN, or STEELTHREAD_AGENT_TOKEN with STEELTHREAD_AGENT_ID',
    );
  }

  const address = variable('STEELTHREAD_AGENT_TEMPORAL_ADDRESS');
  const knownId = identity !== null && 'agentToken' in identity ? identity.agentId : agentId;
  const taskQueue = variable('STEELTHREAD_AGENT_TEMPORAL_TASK_QUEUE') ?? (knownId && `agent-${knownId}`);
  const temporal =
    address === undefined || taskQueue === undefined
      ? undefined
      : { address, namespace: variable('STEELTHREAD_AGENT_TEMPORAL_NAMESPACE') ?? 'default', taskQueue };

  const offersTerminals = flags.terminal ?? variable('STEELTHREAD_AGENT_TERMINAL') === '1';
  const shell = variable('STEELTHREAD_AGENT_TERMINAL_SHELL');
  const terminals = offersTerminals ? (shell === undefined ? {} : { shell }) : undefined;

  if (problems.length > 0 || url === undefined || delivery === undefined || identity === null) {
    return { ok: false, problems };
  }
  const debug = flags.debug ?? variable('STEELTHREAD_AGENT_DEBUG') === '1';
  return {
    ok: true,
    config: { url, home, name, workDir, delivery, maxParallel, terminals, debug, identity, temporal },
  };
}

const settingsSchema = z.record(z.string(), z.string());

/** Variables from a file, for installations that set no environment. A byte order mark is Windows' habit. */
const readSettings = (path: string): Readonly<Record<string, string | undefined>> =>
  settingsSchema.parse(JSON.parse(readFileSync(path, 'utf8').replace(/^\uFEFF/, '')));

/** Without TLS, to a host that is not this very machine. */
function isPlaintextToOthers(url: string): boolean {
  const { protocol, hostname } = new URL(url);
  if (protocol === 'https:' || protocol === 'wss:') return false;
  return !(hostname === 'localhost' || hostname === '[::1]' || /^127(?:\.\d{1,3}){3}$/.test(hostname));
}

/** Given token > stored identity > enrolment. A stored identity of another id than the one asked for is not used. */
function identityOf(from: {
  agentId: string | undefined;
  token: string | undefined;
  stored: AgentIdentity | null;
  enrolmentToken: string | undefined;
}): AgentConfig['identity'] | null {
  const { agentId, token, stored, enrolmentToken } = from;
  if (token !== undefined) {
    const id = agentId ?? stored?.agentId;
    return id === undefined ? null : { agentId: id, agentToken: token };
  }
  if (stored !== null && (agentId === undefined || agentId === stored.agentId)) return stored;
  return enrolmentToken === undefined ? null : { enrolmentToken, agentId };
}
