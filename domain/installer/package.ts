/**
 * Installer packages: a ready agent, scripts that install it, and its configuration with a fresh enrolment token.
 *
 * Invariant S: nothing that a client said stands in a script, a service definition or a file name. It stands in
 * `config.json` alone, as JSON, which only the agent reads; the scripts are the same bytes in every package. So no
 * quote, `$()` or line break of a name can run anything.
 */
import type { CreateInstallerBody } from '../../contracts/installer.ts';
import { createEnrolment } from '../agents/enrol.ts';
import { plainText } from '../agents/plain-text.ts';
import type { Actor, DomainDeps } from '../deps.ts';
import type { RequestKey } from '../idempotency.ts';
import { assertCan } from '../policy.ts';
import type { AgentFile, AgentKind, InstallerPort } from './port.ts';

export interface InstallerPackage {
  /** Name of the zip file: fixed for each kind. */
  fileName: string;
  /** Directory that all files are under. */
  directory: string;
  files: readonly PackagedFile[];
  /** Of the enrolment token inside. */
  expiresAt: Date;
}

export interface PackagedFile extends AgentFile {
  /** Readable for its owner alone: it holds a secret. */
  isSecret?: true;
}

type InstallerDeps = DomainDeps & { installer: InstallerPort };

const DIRECTORY = 'steelthread-agent';

/**
 * Make a package. Its enrolment token is in this answer only; the audit row is that of the enrolment, which says what it
 * was made for.
 * @throws forbidden, conflict (a repeated Idempotency-Key), idempotency_conflict
 */
export async function createInstaller(
  deps: InstallerDeps,
  actor: Actor,
  wish: CreateInstallerBody,
  requestKey: RequestKey | null = null,
): Promise<InstallerPackage> {
  assertCan(actor.principal, 'create', 'installer');
  // Before the token is made: a package that cannot be built leaves none behind.
  const agentFiles = await deps.installer.agentFiles(wish.kind);
  const name = wish.agentName === undefined ? null : plainText(wish.agentName);
  const { enrolmentToken, expiresAt } = await createEnrolment(
    deps,
    actor,
    {
      label: `installer (${wish.kind})${name === null ? '' : `: ${name}`}`.slice(0, MAX_LABEL_LENGTH),
      tags: wish.tags,
      maxUses: wish.maxUses,
      ttlMs: wish.ttlMs,
    },
    requestKey,
  );
  const config = configOf(wish, { enrolmentToken, name, installer: deps.installer });
  return {
    fileName: `steelthread-agent-${wish.kind}.zip`,
    directory: DIRECTORY,
    files: [
      ...agentFiles,
      { name: 'config.json', bytes: textBytes(`${JSON.stringify(config, null, 2)}\n`), ...secret },
      { name: 'install.conf', bytes: textBytes(switchesOf(wish)), isExecutable: false },
      ...requirementsOf(wish.kind),
    ],
    expiresAt,
  };
}

/** Longest label of an enrolment token, characters. */
const MAX_LABEL_LENGTH = 255;

const secret = { isExecutable: false, isSecret: true } as const;
const textBytes = (text: string): Uint8Array => Buffer.from(text, 'utf8');

/** The agent's settings by the names of its environment variables. */
function configOf(
  wish: CreateInstallerBody,
  facts: { enrolmentToken: string; name: string | null; installer: InstallerPort },
): Record<string, string> {
  return {
    STEELTHREAD_URL: wish.serverUrl ?? facts.installer.serverUrl(),
    STEELTHREAD_ENROL_TOKEN: facts.enrolmentToken,
    ...(facts.name === null ? {} : { STEELTHREAD_AGENT_NAME: facts.name }),
    ...(facts.installer.allowsPlaintext ? { STEELTHREAD_AGENT_ALLOW_PLAINTEXT: '1' } : {}),
  };
}

/** What the install scripts read: three switches, 0 or 1. A shell reads it as it is, so nothing else may stand here. */
function switchesOf(wish: CreateInstallerBody): string {
  const rows = { AUTO_START: wish.autoStart, RUN_AS_SERVICE: wish.runAsService, DEBUG: wish.debug };
  return Object.entries(rows)
    .map(([name, isOn]) => `${name}=${isOn ? 1 : 0}\n`)
    .join('');
}

/** The agent needs nothing but Python, and says so in the place where people look. */
const requirementsOf = (kind: AgentKind): PackagedFile[] =>
  kind === 'python' ? [{ name: 'requirements.txt', bytes: new Uint8Array(), isExecutable: false }] : [];

/** What a package is made with where the request does not say. @throws forbidden */
export function readInstallerDefaults(deps: InstallerDeps, actor: Actor): { serverUrl: string } {
  assertCan(actor.principal, 'read', 'installer');
  return { serverUrl: deps.installer.serverUrl() };
}
