/** The list of all routes, as a page of the documentation and as facts to compare it with. */
import type { OpenApiDocument } from './openapi.ts';

export interface RouteEntry {
  method: string;
  path: string;
  summary: string;
}

const methods = ['get', 'post', 'put', 'patch', 'delete'];

/** Every operation of an OpenAPI document, by path and then in the order of the methods above. */
export function routesOf({ paths }: Pick<OpenApiDocument, 'paths'>): RouteEntry[] {
  return Object.entries(paths)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .flatMap(([path, item]) =>
      methods.flatMap((method) => {
        const operation = item[method];
        if (operation === undefined) return [];
        return [{ method: method.toUpperCase(), path, summary: String(operation.summary ?? '') }];
      }),
    );
}

/** The page: `docs/reference/routes.md`. */
export function renderRouteReference(routes: readonly RouteEntry[]): string {
  return [
    '# Routes',
    '',
    'Every route of every family, rendered from the contracts; a test compares the two',
    '(`npx vitest run test/api/route-inventory.test.ts -u` rewrites this page), and `steelthread check-contract` compares it with',
    'a running server. Shapes are in `/openapi.json`, shown at `/docs` and `/redoc`. WebSockets: `/v1/agent`, `/v1/events`, `/ws`,',
    '`/ws/terminal`, `/api/v1/ws/…`.',
    '',
    '| route | does |',
    '|---|---|',
    ...routes.map(
      ({ method, path, summary }) => `| \`${method} ${path}\` | ${summary.replaceAll('|', '\\|')} |`,
    ),
    '',
  ].join('\n');
}

/** The routes that such a page names. */
export function parseRouteReference(page: string): RouteEntry[] {
  return [...page.matchAll(/^\| `([A-Z]+) (\/[^`]*)` \| (.*) \|$/gm)].map(
    ([, method = '', path = '', summary = '']) => ({
      method,
      path,
      summary: summary.replaceAll('\\|', '|'),
    }),
  );
}

export interface RouteDifference {
  kind: 'undocumented' | 'missing' | 'described differently';
  route: string;
}

/** What the documentation and a server say differently of routes. */
export function compareRoutes(
  documented: readonly RouteEntry[],
  served: readonly RouteEntry[],
): RouteDifference[] {
  const nameOf = ({ method, path }: RouteEntry): string => `${method} ${path}`;
  const pages = new Map(documented.map((entry) => [nameOf(entry), entry]));
  const found = new Map(served.map((entry) => [nameOf(entry), entry]));
  return [
    ...[...found].flatMap(([route, { summary }]): RouteDifference[] => {
      const page = pages.get(route);
      if (page === undefined) return [{ kind: 'undocumented', route }];
      return page.summary === summary ? [] : [{ kind: 'described differently', route }];
    }),
    ...[...pages.keys()].flatMap((route): RouteDifference[] =>
      found.has(route) ? [] : [{ kind: 'missing', route }],
    ),
  ];
}
