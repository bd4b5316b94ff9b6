import { readdirSync } from 'node:fs';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createRoutes, type RouteDeps } from '../../api/routes/index.ts';
import type { OpenApiDocument } from '../../contracts/openapi.ts';
import type { RouteContract } from '../../contracts/route.ts';
import { listRights } from '../../domain/policy.ts';
import { startTestServer, type TestServer } from '../support/http.ts';
import { lintOpenApi, operationsOf } from '../support/openapi.ts';

// No handler is called: what they work on is not needed.
const routes = createRoutes({} as unknown as RouteDeps);
const mounted = routes.map(({ contract }) => nameOf(contract)).sort();

let server: TestServer;
let document: OpenApiDocument;
beforeAll(async () => {
  server = await startTestServer({ routes });
  document = (await (await server.fetch('/openapi.json')).json()) as OpenApiDocument;
});
afterAll(() => server.close());

test('every route that a contract declares is mounted, once', async () => {
  expect(mounted).toEqual(await declaredRoutes());
});

test('every mounted route is documented, and the document passes the linter', async () => {
  expect(operationsOf(document)).toEqual(expect.arrayContaining(mounted));
  expect(await lintOpenApi(document)).toEqual([]);
});

test('every route asks for a right that the policy gives to somebody', () => {
  const rights = new Set(listRights().map(({ verb, resource }) => `${verb} ${resource}`));
  const unknown = routes.filter(
    ({ contract }) => contract.auth !== 'public' && !rights.has(`${contract.verb} ${contract.resource}`),
  );
  expect(unknown.map(({ contract }) => nameOf(contract))).toEqual([]);
});

async function declaredRoutes(): Promise<string[]> {
  const folder = new URL('../../contracts/', import.meta.url);
  const files = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((file) =>
    file.endsWith('.ts'),
  );
  const modules = await Promise.all(
    files.map((file) => import(new URL(file, folder).href) as Promise<Record<string, unknown>>),
  );
  return modules
    .flatMap((exports) => Object.values(exports))
    .flat()
    .filter(isContract)
    .map(nameOf)
    .sort();
}

const isContract = (value: unknown): value is RouteContract =>
  typeof value === 'object' &&
  value !== null &&
  'method' in value &&
  'path' in value &&
  'replies' in value &&
  'family' in value;

function nameOf({ method, path }: RouteContract): string {
  return `${method} ${path}`;
}
