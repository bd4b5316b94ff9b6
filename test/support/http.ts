import { type AppDeps, createApp } from '../../api/app.ts';
import type { Log, LogFact } from '../../api/context.ts';
import { type ListenLimits, listen } from '../../api/listen.ts';
import { createMetrics } from '../../api/metrics.ts';
import type { MountedRoute } from '../../api/mount.ts';
import type { Checks } from '../../api/readiness.ts';
import { createUpgradeRouter, type RefusedUpgrade, type UpgradeRoute } from '../../api/upgrade.ts';
import { problem } from '../../contracts/errors.ts';
import type { Profile } from '../../contracts/families/family.ts';
import type { Principal, Resource, Verb } from '../../contracts/principal.ts';

export type LogLine = LogFact & { level: string };

export interface TestServer {
  /** Base URL of the listener with this profile. */
  url(profile?: Profile): string;
  /** `fetch` on the steel listener unless another profile is named. */
  fetch(path: string, init?: RequestInit & { profile?: Profile }): Promise<Response>;
  /** What was logged, oldest first. */
  lines: LogLine[];
  metrics: ReturnType<typeof createMetrics>;
  /** Begins to stop without closing. */
  shutdown(): void;
  close(options?: { deadlineMs?: number }): Promise<void>;
}

export interface TestServerOptions {
  routes?: readonly MountedRoute[];
  upgrades?: readonly UpgradeRoute[];
  checks?: Checks;
  can?: AppDeps['can'];
  authenticate?: AppDeps['authenticate'];
  sessions?: AppDeps['sessions'];
  streams?: AppDeps['streams'];
  countShared?: AppDeps['countShared'];
  devLog?: AppDeps['devLog'];
  /** Origins of pages that may open sockets. */
  origins?: readonly string[];
  onRefused?: (refused: RefusedUpgrade) => void;
  limits?: Partial<ListenLimits>;
  options?: Partial<AppDeps['options']>;
}

/** The HTTP side on real sockets, one listener for each profile; replies are checked against their contracts. */
export async function startTestServer(given: TestServerOptions = {}): Promise<TestServer> {
  const lines: LogLine[] = [];
  const stopping = new AbortController();
  const metrics = createMetrics();
  const log = recordingLog(lines);
  const options = {
    title: 'Test',
    version: '1.2.3',
    publicUrl: 'https://steelthread.example',
    name: 'hub',
    corsOrigins: ['https://console.example'],
    trustProxyHops: 0,
    rateLimit: false,
    checkReplies: true,
    ...given.options,
  };
  const app = createApp({
    routes: given.routes ?? [],
    log,
    metrics,
    checks: given.checks ?? {},
    shutdown: stopping.signal,
    authenticate: given.authenticate ?? authenticateByName,
    can: given.can ?? (() => true),
    sessions: given.sessions,
    streams: given.streams,
    countShared: given.countShared,
    devLog: given.devLog,
    options,
  });
  const upgrade = createUpgradeRouter({
    routes: given.upgrades ?? [],
    origins: given.origins ?? [],
    ...(given.onRefused && { onRefused: given.onRefused }),
    trustProxyHops: options.trustProxyHops,
    shutdown: stopping.signal,
    log,
  });
  const profiles = ['steel', 'dex', 'ananta'] as const;
  const listeners = profiles.map((profile) => ({ host: '127.0.0.1', port: 0, profile }));
  const listening = await listen({ app, upgrade, log, limits: given.limits }, listeners);

  function url(profile: Profile = 'steel'): string {
    const address = listening.addresses.find((each) => each.profile === profile);
    if (address === undefined) throw new Error(`no listener for ${profile}`);
    return address.url;
  }

  return {
    url,
    fetch: (path, { profile, ...init } = {}) => fetch(`${url(profile)}${path}`, init),
    lines,
    metrics,
    shutdown: () => stopping.abort(),
    close: (closeOptions) => {
      stopping.abort();
      return listening.close(closeOptions);
    },
  };
}

/** `Bearer <kind>:<name>` is that principal; anything else is an invalid token. */
export const authenticateByName: AppDeps['authenticate'] = async ({ headers, query }) => {
  const token = headers.authorization?.replace(/^Bearer /, '') ?? query.get('token');
  if (token === null || token === undefined) return null;
  const [kind, name] = token.split(':');
  if (name === undefined || (kind !== 'user' && kind !== 'agent' && kind !== 'system'))
    throw problem('invalid_token');
  return { kind, id: name, name, roles: ['user'], sessionId: null };
};

/** Allows everything but the given right. */
export function allBut(verb: Verb, resource: Resource) {
  return (_principal: Principal, v: Verb, r: Resource) => v !== verb || r !== resource;
}

export const asUser = { Authorization: 'Bearer user:ada' };

export function sendJson(body: unknown, headers: Record<string, string> = asUser): RequestInit {
  const text = typeof body === 'string' ? body : JSON.stringify(body);
  return { method: 'POST', body: text, headers: { 'Content-Type': 'application/json', ...headers } };
}

function recordingLog(lines: LogLine[]): Log {
  const record = (level: string) => (fact: LogFact) => {
    lines.push({ level, ...fact });
  };
  return { debug: record('debug'), info: record('info'), warn: record('warn'), error: record('error') };
}
