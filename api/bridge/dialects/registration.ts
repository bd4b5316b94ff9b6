/** The register frame of the dialects: which of them the agent speaks, and what it says of itself. */
import { randomUUID } from 'node:crypto';
import { shellNames } from '../../../contracts/act.ts';
import { agentIdSchema, type Hello, PROTOCOL_VERSION } from '../../../contracts/agent-protocol.ts';
import type { Dialect } from './dialect.ts';
import { flatDialect } from './flat.ts';
import { fieldsOf, firstText } from './json.ts';
import { nestedResultDialect } from './nested-result.ts';
import { requestIdDialect } from './request-id.ts';
import { topLevelIdDialect } from './top-level-id.ts';

/** Where the agent connected: without an id in the path (`agent`), or with one (`id`). */
export type Endpoint = 'agent' | 'id';

export interface Registration {
  dialect: Dialect;
  /** The id it calls itself by; undefined when it names none. Its credential decides who it is. */
  claimedId: string | undefined;
  /** A credential in the frame itself. */
  token: string | undefined;
  hostname: string | undefined;
  address: string | undefined;
  os: string | undefined;
  arch: string | undefined;
  version: string | undefined;
  tags: string[];
  shells: string[];
  offersElevation: boolean;
  /** As it was sent, for whoever shows it. */
  systemInfo: Readonly<Record<string, unknown>> | undefined;
}

/** Most tags and shells that are taken from a register frame. */
const MAX_LIST_ITEMS = 16;
const MAX_TAG_LENGTH = 64;

/** Where no register frame came: an agent of dialect B may be told of commands without one. */
export const withoutRegistration = (): Registration =>
  readRegistration({ type: 'register', data: { agent_id: '' } }, 'id');

/** @param frame a frame of type `register`, in any of the shapes */
export function readRegistration(frame: Readonly<Record<string, unknown>>, endpoint: Endpoint): Registration {
  const nested = fieldsOf(frame.data);
  const data = nested ?? frame;
  const systemInfo = fieldsOf(data.system_info) ?? fieldsOf(data.system_metrics);
  const words = Array.isArray(data.capabilities) ? data.capabilities : [];
  return {
    dialect: dialectOf(frame, endpoint),
    claimedId: firstText(128, data.agent_id, data.id, frame.agent_id, frame.id),
    token: firstText(4096, frame.token, frame.api_token, data.token, data.api_token),
    hostname: firstText(255, data.hostname, systemInfo?.hostname),
    address: firstText(64, data.ip),
    os: firstText(255, data.os, data.os_version, data.platform, systemInfo?.os_version, systemInfo?.os),
    arch: firstText(64, data.arch, data.architecture, systemInfo?.architecture),
    version: firstText(64, data.version, data.agent_version),
    tags: texts(data.tags, MAX_TAG_LENGTH),
    shells: texts(data.shells, 32).filter((name) => (shellNames as readonly string[]).includes(name)),
    offersElevation: words.some((word) => word === 'run_as_admin' || word === 'elevate'),
    systemInfo,
  };
}

/** By the frame's form first; the endpoint decides where the form leaves it open. */
function dialectOf(frame: Readonly<Record<string, unknown>>, endpoint: Endpoint): Dialect {
  const data = fieldsOf(frame.data);
  if (data === undefined) return flatDialect;
  if (data.agent_id !== undefined) return nestedResultDialect;
  if (endpoint === 'agent') return requestIdDialect;
  return data.id === undefined ? topLevelIdDialect : nestedResultDialect;
}

function texts(value: unknown, maxLength: number): string[] {
  const items: unknown[] = Array.isArray(value) ? value : [];
  const isFit = (item: unknown): item is string =>
    typeof item === 'string' && item !== '' && item.length <= maxLength;
  return items.filter(isFit).slice(0, MAX_LIST_ITEMS);
}

export const isUsableId = (id: string | undefined): id is string => agentIdSchema.safeParse(id).success;

/** The hello that this agent would send if it had a journal: a new one each time, which vouches for nothing. */
export function helloOf(agentId: string, hostname: string, registration: Registration): Hello {
  const os = registration.os ?? '';
  const shells = registration.shells.length > 0 ? registration.shells : shellsOf(os, registration.dialect);
  return {
    type: 'hello',
    protocol: PROTOCOL_VERSION,
    agentId,
    journalId: randomUUID(),
    journalSeq: 0,
    delivery: 'websocket',
    hostname: registration.hostname ?? hostname,
    os,
    arch: registration.arch ?? '',
    version: registration.version ?? '',
    capabilities: canElevate(registration) ? ['shell', 'elevate'] : ['shell'],
    shells,
    defaultShell: shells[0] ?? 'powershell',
  };
}

export const canElevate = ({ dialect, offersElevation }: Registration): boolean =>
  dialect.canElevate || offersElevation;

/** These agents run PowerShell: that of Windows there, and where nothing is said of the system; `pwsh` elsewhere. */
const shellsOf = (os: string, dialect: Dialect): string[] => {
  const isWindows = os === '' || /windows|^win(32|64)?\b/i.test(os);
  if (!isWindows) return ['pwsh'];
  return dialect.namesShell ? ['powershell', 'cmd'] : ['powershell'];
};
