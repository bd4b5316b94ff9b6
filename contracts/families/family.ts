/**
 * Which wire dialect a path speaks. A family is a set of routes that answer as one existing system did;
 * `dex-alice` is what the two share (`/api/v1/auth/*`), answered with the keys of both.
 */

export const families = ['house', 'ananta', 'steel', 'dex', 'alice', 'dex-alice'] as const;
export type Family = (typeof families)[number];

/**
 * What a listener answers where the families truly collide: `/`, `/health`, and the dialect of unknown paths.
 * Everything else is the same on every port.
 */
export const profiles = ['steel', 'dex', 'ananta'] as const;
export type Profile = (typeof profiles)[number];

/** First segments of a path, longest match wins. */
const prefixes: Record<Family, readonly string[]> = {
  house: ['/v1', '/livez', '/readyz', '/metrics', '/openapi.json', '/docs', '/redoc', '/ui'],
  steel: [
    '/auth',
    '/healthz',
    '/ws',
    '/api/v1/jobs',
    '/api/v1/collab',
    '/api/v1/events',
    '/api/v1/orchestrator/events',
  ],
  dex: [
    '/api/v1/agents',
    '/api/v1/commands',
    '/api/v1/system',
    '/api/v1/installer',
    '/api/v1/settings',
    '/api/v1/ws',
    '/api/v1/send',
    '/api/v1/connected',
    '/websocket',
  ],
  'dex-alice': ['/api/v1/auth'],
  alice: ['/api/v1/chat'],
  ananta: [
    '/agents',
    '/api/admin',
    '/api/auth',
    '/api/profile',
    '/api/sgpt',
    '/api/system',
    '/api/tasks',
    '/apidocs',
    '/apispec',
    '/approve',
    '/audit',
    '/audit-logs',
    '/change-password',
    '/config',
    '/events',
    '/llm',
    '/login',
    '/logs',
    '/me',
    '/mfa',
    '/providers',
    '/ready',
    '/refresh-token',
    '/register',
    '/rotate-token',
    '/schedule',
    '/stats',
    '/step',
    '/tasks',
    '/teams',
    '/templates',
    '/users',
    '/ws/terminal',
  ],
};

const familyByPrefix = new Map(
  families.flatMap((family) => prefixes[family].map((prefix) => [prefix, family] as const)),
);

/** Parts of the longest prefix, the empty one before its first slash included: a path may have thousands. */
const MAX_PREFIX_PARTS = Math.max(...[...familyByPrefix.keys()].map((prefix) => prefix.split('/').length));

/** The dialect of a path on a listener of this profile; the profile decides where no family owns the path. */
export function familyOfPath(path: string, profile: Profile): Family {
  let found: Family = profile;
  let prefix = '';
  for (const segment of path.split('/', MAX_PREFIX_PARTS).slice(1)) {
    prefix += `/${segment}`;
    found = familyByPrefix.get(prefix) ?? found;
  }
  return found;
}
