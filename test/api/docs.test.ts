import { afterAll, beforeAll, expect, test } from 'vitest';
import type { OpenApiDocument } from '../../contracts/openapi.ts';
import { exampleRoutes } from '../support/example-routes.ts';
import { startTestServer, type TestServer } from '../support/http.ts';
import { lintOpenApi, operationsOf } from '../support/openapi.ts';

let server: TestServer;
let document: OpenApiDocument;
beforeAll(async () => {
  server = await startTestServer({ routes: exampleRoutes() });
  document = (await (await server.fetch('/openapi.json')).json()) as OpenApiDocument;
});
afterAll(() => server.close());

test('what is registered is what is documented', () => {
  const registered = exampleRoutes().map(({ contract }) => `${contract.method} ${contract.path}`);
  const service = [
    '/',
    '/health',
    '/healthz',
    '/livez',
    '/ready',
    '/readyz',
    '/metrics',
    '/api/system/health',
    '/api/system/ready',
    '/api/system/metrics',
    '/openapi.json',
    '/apidocs',
    '/docs',
    '/docs/{asset}',
    '/redoc',
  ];
  expect(operationsOf(document)).toEqual([...registered, ...service.map((each) => `GET ${each}`)].sort());
});

test('every documented operation is answered, not 404 or 405', async () => {
  for (const operation of operationsOf(document)) {
    const [method = '', template = ''] = operation.split(' ');
    const response = await server.fetch(template.replaceAll(/\{\w+\}/g, 'swagger-init.js'), { method });
    expect([operation, response.status]).not.toEqual([operation, 404]);
    expect([operation, response.status]).not.toEqual([operation, 405]);
    await response.body?.cancel();
  }
});

test('an operation tells parameters, body, replies and errors of its contract', () => {
  expect(document.paths['/v1/widgets/{widgetId}']?.get).toMatchObject({
    operationId: 'getV1WidgetsByWidgetId',
    security: [{ bearer: [] }, { apiKey: [] }],
    parameters: [{ name: 'widgetId', in: 'path', required: true, schema: { type: 'string' } }],
    responses: {
      200: {
        headers: { ETag: { description: 'Version of the widget' } },
        content: { 'application/json': { schema: { $ref: '#/components/schemas/Widget' } } },
      },
      304: { description: 'Done' },
      404: {
        description: '`task_not_found`',
        content: { 'application/problem+json': { schema: { $ref: '#/components/schemas/Problem' } } },
      },
    },
  });
  expect(document.paths['/v1/widgets/connected']?.get).toMatchObject({
    parameters: [
      { name: 'limit', in: 'query', required: false, schema: { type: 'integer', minimum: 1, maximum: 100 } },
      { name: 'tag', required: false },
    ],
  });
  expect(document.paths['/v1/widgets']?.post).toMatchObject({
    requestBody: {
      required: true,
      content: { 'application/json': { schema: { required: ['title'], additionalProperties: false } } },
    },
  });
});

test('an error is documented under the status its family gives it', () => {
  expect(document.paths['/api/v1/agents']?.post).toMatchObject({
    responses: { 400: { description: expect.stringContaining('`agent_not_connected`') } },
  });
});

test('the document passes the linter', async () => {
  expect(await lintOpenApi(document)).toEqual([]);
}, 60_000);

test.each(['/docs', '/redoc', '/docs/'])(
  '%s needs no inline script, and all it loads comes from here',
  async (page) => {
    const response = await server.fetch(page);
    expect(response.headers.get('Content-Security-Policy')).toContain("script-src 'self';");
    const html = await response.text();
    expect(html).not.toMatch(/<script>|<script [^>]*>[^<]/);
    expect(html).not.toMatch(/(src|href)="(?!\/docs\/)/);
    for (const [, url] of html.matchAll(/(?:src|href)="([^"]+)"/g)) {
      const asset = await server.fetch(url ?? '');
      expect(asset.status).toBe(200);
      expect(asset.headers.get('Content-Type')).toMatch(/^text\/(css|javascript); charset=utf-8$/);
      await asset.arrayBuffer();
    }
  },
);

test('no other file can be had through the documentation pages', async () => {
  for (const name of ['package.json', '..%2Fpackage.json', 'toString', '__proto__']) {
    expect((await server.fetch(`/docs/${name}`)).status).toBe(404);
  }
});
