import { afterAll, beforeAll, expect, test } from 'vitest';
import { startTestServer, type TestServer } from '../support/http.ts';

let server: TestServer;
let isDatabaseUp = true;
beforeAll(async () => {
  const database = async () => {
    if (!isDatabaseUp) throw new Error('connection refused by 10.0.0.7');
    return { ok: true };
  };
  server = await startTestServer({
    checks: { database, migrations: async () => ({ ok: true, detail: 'at 0007' }) },
  });
});
afterAll(() => server.close());

test.each([
  ['steel', '/', 200, { message: 'Orchestrator API is running' }],
  ['steel', '/health', 200, { status: 'healthy' }],
  ['steel', '/health/', 200, { status: 'healthy' }],
  ['dex', '/', 200, { message: 'DexAgents API', version: '1.2.3', docs: '/docs' }],
  ['dex', '/health', 200, { status: 'healthy', service: 'DexAgents API' }],
  [
    'ananta',
    '/health',
    200,
    {
      status: 'success',
      data: { agent: 'hub', checks: { database: { status: 'ok' }, migrations: { status: 'ok' } } },
    },
  ],
] as const)('a %s listener answers %s', async (profile, path, status, body) => {
  const response = await server.fetch(path, { profile });
  expect(response.status).toBe(status);
  expect(await response.json()).toEqual(body);
});

test('an ananta listener has no / and says so in its envelope', async () => {
  const response = await server.fetch('/', { profile: 'ananta', headers: { 'X-Correlation-ID': 'c1' } });
  expect(response.status).toBe(404);
  expect(await response.json()).toEqual({ status: 'error', message: 'not_found', data: { cid: 'c1' } });
});

test.each([
  ['steel', { detail: 'Not Found' }],
  ['dex', { success: false, code: 'NOT_FOUND' }],
  ['ananta', { status: 'error', message: 'not_found' }],
] as const)('an unknown path on a %s listener is refused in its dialect', async (profile, body) => {
  const response = await server.fetch('/nobody/knows', { profile });
  expect(response.status).toBe(404);
  expect(await response.json()).toMatchObject(body);
});

test('POST / is 405 with Allow on a dex listener', async () => {
  const response = await server.fetch('/', { profile: 'dex', method: 'POST' });
  expect([response.status, response.headers.get('Allow')]).toEqual([405, 'GET, HEAD, OPTIONS']);
});

test('readiness names each check with its latency, and keeps the reason of a failure to itself', async () => {
  const ready = await server.fetch('/readyz');
  expect(ready.status).toBe(200);
  expect(await ready.json()).toEqual({
    ready: true,
    checks: {
      database: { ok: true, latencyMs: expect.any(Number) },
      migrations: { ok: true, detail: 'at 0007', latencyMs: expect.any(Number) },
    },
  });
  isDatabaseUp = false;
  const missing = await server.fetch('/readyz');
  expect(missing.status).toBe(503);
  expect(await missing.json()).toMatchObject({
    ready: false,
    checks: { database: { ok: false, detail: 'the check failed' }, migrations: { ok: true } },
  });
});

test('metrics are counted by route template, and gauges are read at the scrape', async () => {
  server.metrics.registerGauge('steelthread_test_lag_seconds', 'Lag', () => 4);
  server.metrics.registerGauge('steelthread_test_broken', 'Broken', () => Promise.reject(new Error('no')));
  const response = await server.fetch('/metrics');
  expect(response.headers.get('Content-Type')).toContain('text/plain; version=0.0.4');
  const text = await response.text();
  expect(text).toContain(
    'steelthread_http_request_duration_seconds_count{method="GET",route="/readyz",status="503"} 1',
  );
  expect(text).toContain('steelthread_test_lag_seconds 4');
});
