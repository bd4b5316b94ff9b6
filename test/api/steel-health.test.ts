import { afterAll, beforeAll, expect, it } from 'vitest';
import { CHECK_TIMEOUT_MS, type Check } from '../../api/readiness.ts';
import { startTestServer, type TestServer } from '../support/http.ts';

let server: TestServer;
let database: Check;
beforeAll(async () => {
  // What else is down is no matter of this probe.
  const temporal = async () => ({ ok: false });
  server = await startTestServer({ checks: { database: () => database(), temporal } });
});
afterAll(() => server.close());

const away = {
  error: {
    type: 'http_exception',
    code: 500,
    message: 'DB unavailable',
    path: '/healthz',
    method: 'GET',
  },
  detail: 'DB unavailable',
};

it.each(['/healthz', '/healthz/'])('%s is ok while the database answers', async (path) => {
  database = async () => ({ ok: true });
  const response = await server.fetch(path);
  expect([response.status, await response.json()]).toEqual([200, { status: 'ok' }]);
});

it.each<[string, Check]>([
  ['refuses', () => Promise.reject(new Error('connection refused by 10.0.0.7'))],
  ['is not well', async () => ({ ok: false, detail: 'starting up' })],
])('/healthz is 500 in the envelope of steel when the database %s', async (_how, check) => {
  database = check;
  const response = await server.fetch('/healthz');
  expect([response.status, await response.json()]).toEqual([500, away]);
});

it('/healthz answers while the database does not', async () => {
  database = () => new Promise(() => undefined);
  const since = performance.now();
  const response = await server.fetch('/healthz');
  expect([response.status, await response.json()]).toEqual([500, away]);
  expect(performance.now() - since).toBeLessThan(CHECK_TIMEOUT_MS + 1_000);
});

it('/healthz is a problem for those who ask for one, and takes no other method', async () => {
  database = async () => ({ ok: false });
  const response = await server.fetch('/healthz', { headers: { Accept: 'application/problem+json' } });
  expect([response.status, await response.json()]).toMatchObject([500, { code: 'database_unavailable' }]);
  const posted = await server.fetch('/healthz', { method: 'POST' });
  expect([posted.status, posted.headers.get('Allow')]).toEqual([405, 'GET, HEAD, OPTIONS']);
});
