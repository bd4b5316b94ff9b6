/** What a hostile client meets before any route: origins, headers, bodies, time, connections. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import https from 'node:https';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { createApp } from '../../api/app.ts';
import { type Listening, listen } from '../../api/listen.ts';
import { createMetrics } from '../../api/metrics.ts';
import { type MountedRoute, mount } from '../../api/mount.ts';
import { defineRoute } from '../../contracts/route.ts';
import { exampleRoutes, familyPaths } from '../support/example-routes.ts';
import {
  asUser,
  authenticateByName,
  sendJson,
  startTestServer,
  type TestServer,
  type TestServerOptions,
} from '../support/http.ts';

const opened: TestServer[] = [];
afterEach(async () => {
  await Promise.all(opened.splice(0).map((each) => each.close({ deadlineMs: 0 })));
});
async function start(given: TestServerOptions = {}): Promise<TestServer> {
  const server = await startTestServer({ routes: [...exampleRoutes(), addressRoute], ...given });
  opened.push(server);
  return server;
}

/** Says from where the server believes it was called. */
const addressRoute: MountedRoute = mount(
  defineRoute({
    family: 'house',
    method: 'GET',
    path: '/v1/address',
    summary: 'Say the address',
    tags: ['test'],
    rateClass: 'unlimited',
    auth: 'public',
    replies: { 200: z.object({ address: z.string() }) },
  }),
  async ({ address }) => ({ status: 200, body: { address } }),
);

/** Sends bytes as they are; the answer once the server has closed, and how long that took. */
function speak(server: TestServer, bytes: string, keepOpen = false): Promise<{ text: string; ms: number }> {
  const since = performance.now();
  const socket = connect(Number(new URL(server.url()).port), '127.0.0.1');
  let text = '';
  socket.setEncoding('latin1').on('data', (chunk) => (text += chunk));
  socket.on('error', () => {});
  if (keepOpen) socket.write(bytes);
  else socket.end(bytes);
  return new Promise((resolve) => socket.on('close', () => resolve({ text, ms: performance.now() - since })));
}

describe('origins', () => {
  it.each([
    'null',
    'https://console.example.evil.example',
    'https://evil-console.example',
    'https://console.example:8443',
    'http://console.example',
    'https://CONSOLE.example',
    'https://console.example/',
    'https://console.example, https://evil.example',
    '*',
  ])('%s is not the listed one', async (origin) => {
    const server = await start();
    const response = await server.fetch('/v1/widgets/a', { headers: { ...asUser, Origin: origin } });
    expect(response.headers.get('Access-Control-Allow-Origin')).toBeNull();
    expect(response.headers.get('Access-Control-Allow-Credentials')).toBeNull();
    const preflight = await server.fetch('/v1/widgets', {
      method: 'OPTIONS',
      headers: { Origin: origin, 'Access-Control-Request-Method': 'POST' },
    });
    expect(preflight.headers.get('Access-Control-Allow-Origin')).toBeNull();
    expect(preflight.headers.get('Access-Control-Allow-Methods')).toBeNull();
  });

  it('the listed one is named exactly, and caches are told that it matters', async () => {
    const server = await start();
    for (const path of ['/v1/widgets/a', '/nowhere', '/v1/widgets/none']) {
      const headers = { ...asUser, Origin: 'https://console.example' };
      const response = await server.fetch(path, { headers });
      expect(response.headers.get('Access-Control-Allow-Origin')).toBe('https://console.example');
      expect(response.headers.get('Vary')).toMatch(/\bOrigin\b/);
    }
  });
});

describe('headers of answers', () => {
  it('a policy without inline or evaluated scripts, on answers and on errors', async () => {
    const server = await start();
    for (const path of ['/livez', '/nowhere', '/v1/widgets/a', '/docs', '/redoc']) {
      const policy = (await server.fetch(path)).headers.get('Content-Security-Policy') ?? '';
      expect(policy).toContain("default-src 'self'");
      expect(policy).toContain("object-src 'none'");
      expect(policy).toContain("frame-ancestors 'none'");
      expect(policy).toMatch(/script-src 'self'(;|$)/);
      expect(policy).not.toContain('unsafe-eval');
      if (!path.startsWith('/docs') && !path.startsWith('/redoc')) expect(policy).not.toContain('unsafe');
    }
  });

  it('X-Forwarded-Proto is believed of a trusted proxy only', async () => {
    const headers = { 'X-Forwarded-Proto': 'https' };
    const open = await start();
    expect((await open.fetch('/livez', { headers })).headers.get('Strict-Transport-Security')).toBeNull();
    const behind = await start({ options: { trustProxyHops: 1 } });
    expect((await behind.fetch('/livez', { headers })).headers.get('Strict-Transport-Security')).toBe(
      'max-age=31536000; includeSubDomains',
    );
  });

  it('nothing says what the server is made of', async () => {
    const server = await start();
    const { headers } = await server.fetch('/nowhere');
    expect(headers.get('X-Powered-By')).toBeNull();
    expect(headers.get('Server')).toBeNull();
  });

  it.each([
    ['encoded line breaks', 'a%0d%0aSet-Cookie:x'],
    ['a tab', 'a\tb'],
    ['an escape', 'a\\u001b[31m'],
    ['a long one', 'x'.repeat(129)],
    ['markup', '<script>'],
    ['another alphabet', 'é'],
  ])('a correlation id with %s is replaced', async (_what, id) => {
    const server = await start();
    const { text } = await speak(
      server,
      `GET /nowhere HTTP/1.1\r\nHost: a\r\nX-Request-Id: ${id}\r\nConnection: close\r\n\r\n`,
    );
    expect(text).toMatch(/\r\nX-Request-Id: [0-9a-f-]{36}\r\n/i);
    expect(text).not.toContain(id);
  });
});

describe('bodies', () => {
  const json = { ...asUser, 'Content-Type': 'application/json' };
  const post = (server: TestServer, path: string, body: string, type = 'application/json') =>
    server.fetch(path, { method: 'POST', body, headers: { ...asUser, 'Content-Type': type } });

  it.each(familyPaths)(
    '%s: 20 KB nested 10,000 deep, and keys that reach prototypes',
    async (_family, path) => {
      const server = await start();
      const deep = '['.repeat(10_000) + ']'.repeat(10_000);
      const since = performance.now();
      for (const body of [
        deep,
        `{"title":${deep}}`,
        `${'{"a":'.repeat(5_000)}1${'}'.repeat(5_000)}`,
        '{"title":"x","__proto__":{"role":"admin"}}',
        '{"title":"x","constructor":{"prototype":{"role":"admin"}}}',
        '{"title":"x","\\u005f_proto__":1}',
        '{"title":"x","title":"y"}',
        '{"title":"\\u0000"}',
      ]) {
        const response = await post(server, path, body);
        expect([response.status, body.slice(0, 40)]).toEqual([400, body.slice(0, 40)]);
        expect((await response.text()).length).toBeLessThan(2_000);
      }
      expect(performance.now() - since).toBeLessThan(5_000);
      expect(({} as Record<string, unknown>).role).toBeUndefined();
    },
  );

  it.each([
    'text/plain',
    'text/json',
    'application/json-patch',
    'multipart/form-data; boundary=x',
    'application/xml',
    'application/json; charset=utf-16',
    'application/json; charset=latin1',
    'application/x-www-form-urlencoded; charset=utf-7',
    '*/*',
    'application/json, text/plain',
  ])('the type %s is not read', async (type) => {
    const server = await start();
    expect((await post(server, '/v1/widgets', '{"title":"x"}', type)).status).toBe(415);
  });

  it.each(['application/json', 'Application/JSON; charset=UTF-8', 'application/json;charset="utf-8"'])(
    'the type %s is',
    async (type) => {
      const server = await start();
      expect((await post(server, '/v1/widgets', '{"title":"x"}', type)).status).toBe(201);
    },
  );

  it('a body without a type is not guessed at', async () => {
    const server = await start();
    const body = new Blob(['{"title":"x"}']);
    const response = await server.fetch('/v1/widgets', { method: 'POST', body, headers: asUser });
    expect(response.status).toBe(415);
  });

  it('a form has each field once, none that reaches a prototype, and not any number', async () => {
    const server = await start();
    const form = 'application/x-www-form-urlencoded';
    expect((await post(server, '/v1/widgets', 'title=a&size=1', form)).status).toBe(422); // a text is no number
    expect((await post(server, '/v1/widgets', 'title=a', form)).status).toBe(201);
    for (const body of [
      'title=a&title=b',
      'title=a&__proto__=b',
      'title=a&constructor=b',
      'title=a%00',
      Array.from({ length: 101 }, (_, i) => `f${i}=1`).join('&'),
    ]) {
      expect([(await post(server, '/v1/widgets', body, form)).status, body]).toEqual([400, body]);
    }
  });

  it('a megabyte and no more, told without cutting the client off', async () => {
    const server = await start();
    const body = JSON.stringify({ title: 'x'.repeat(1024 * 1024) });
    const response = await server.fetch('/v1/widgets', { method: 'POST', body, headers: json });
    expect([response.status, ((await response.json()) as { code: string }).code]).toEqual([
      413,
      'body_too_large',
    ]);
  });
});

describe('requests that two readers would read differently', () => {
  it.each([
    ['length and chunks', 'Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n'],
    ['two lengths', 'Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello'],
    ['a length that is none', 'Content-Length: +5\r\n\r\nhello'],
    ['an unknown transfer encoding', 'Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n'],
    ['a blank before the colon', 'Content-Length : 5\r\n\r\nhello'],
    ['a folded header', 'X-A: b\r\n c\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n'],
    ['a bare carriage return', 'X-A: b\rContent-Length: 5\r\n\r\nhello'],
  ])('%s: 400, and the connection ends', async (_what, rest) => {
    const server = await start();
    const { text } = await speak(server, `POST /v1/widgets HTTP/1.1\r\nHost: a\r\n${rest}`, true);
    expect(text).toMatch(/^HTTP\/1\.1 400 /);
    expect(text.match(/HTTP\/1\.1/g)).toHaveLength(1);
  });

  it('headers in any number do not push out what the proxy adds behind them', async () => {
    const server = await start({ options: { trustProxyHops: 1 } });
    const many = 'a:\r\n'.repeat(3_000);
    const { text } = await speak(
      server,
      `GET /v1/address HTTP/1.1\r\nHost: a\r\n${many}X-Forwarded-For: 192.0.2.77\r\nConnection: close\r\n\r\n`,
    );
    expect(text).toContain('"address":"192.0.2.77"');
  });
});

describe('time and connections', () => {
  const limits = { headersTimeoutMs: 300, requestTimeoutMs: 600, checkIntervalMs: 50 };

  it('a client that is slow with its headers is told and closed', async () => {
    const server = await start({ limits });
    const { text, ms } = await speak(server, 'GET /livez HTTP/1.1\r\nHost: a\r\nX-Slow: ', true);
    expect(text).toMatch(/^HTTP\/1\.1 408 /);
    expect(ms).toBeLessThan(3_000);
  });

  it('so is one that says nothing at all', async () => {
    const server = await start({ limits });
    const { ms } = await speak(server, '', true);
    expect(ms).toBeLessThan(3_000);
  });

  it('and one that is slow with its body', async () => {
    const server = await start({ limits });
    const head = 'POST /v1/widgets HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer user:ada\r\n';
    const body = 'Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"title":';
    const { text, ms } = await speak(server, head + body, true);
    expect(text).toMatch(/^HTTP\/1\.1 4\d\d /);
    expect(ms).toBeLessThan(4_000);
  });

  it('connections above the bound are dropped, those below go on', async () => {
    const server = await start({ limits: { maxConnections: 3 } });
    const port = Number(new URL(server.url()).port);
    const held = Array.from({ length: 3 }, () => connect(port, '127.0.0.1'));
    await Promise.all(held.map((socket) => new Promise((resolve) => socket.once('connect', resolve))));
    const dropped = await speak(server, 'GET /livez HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n');
    expect(dropped.text).toBe('');
    const answer = new Promise<string>((resolve) => held[0]?.once('data', (bytes) => resolve(String(bytes))));
    held[0]?.write('GET /livez HTTP/1.1\r\nHost: a\r\n\r\n');
    expect(await answer).toMatch(/^HTTP\/1\.1 200 /);
    for (const socket of held) socket.destroy();
  });
});

describe('errors', () => {
  it('say nothing of stacks, statements, paths or causes, in any dialect', async () => {
    const server = await start();
    for (const [, path] of familyPaths) {
      const response = await server.fetch(path, sendJson({ title: 'boom' }));
      const text = await response.text();
      expect(response.status).toBe(500);
      expect(text).not.toMatch(/boom|at .*\(|\.ts|node_modules|select |Error:|\/(root|home|work|usr)\//);
    }
    const thrown = await server.fetch('/v1/broken/throw');
    expect(await thrown.text()).not.toContain('hunter2');
  });

  it('methods nobody serves are refused', async () => {
    const server = await start();
    for (const method of ['TRACE', 'PROPFIND', 'PURGE']) {
      const { text } = await speak(
        server,
        `${method} /v1/widgets HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`,
      );
      expect(text).toMatch(/^HTTP\/1\.1 40[45] /);
    }
  });
});

describe('behind TLS of its own', () => {
  let folder: string;
  let listening: Listening;
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'steelthread-tls-'));
    const [key, cert] = [join(folder, 'key.pem'), join(folder, 'cert.pem')];
    const openssl = `req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=localhost`;
    execFileSync('openssl', [...openssl.split(' '), '-keyout', key, '-out', cert], { stdio: 'ignore' });
    const shutdown = new AbortController().signal;
    const log = { debug() {}, info() {}, warn() {}, error() {} };
    const options = {
      ...{ title: 'Test', version: '1', publicUrl: '/', description: '', name: 'hub' },
      ...{ corsOrigins: [], trustProxyHops: 0, rateLimit: false },
    };
    const metrics = createMetrics();
    const deps = { routes: [], log, metrics, checks: {}, shutdown, can: () => true, options };
    const app = createApp({ ...deps, authenticate: authenticateByName });
    listening = await listen({ app, upgrade: () => {}, log }, [
      {
        host: '127.0.0.1',
        port: 0,
        profile: 'steel',
        tls: { key: readFileSync(key), cert: readFileSync(cert) },
      },
    ]);
  });
  afterAll(async () => {
    await listening.close({ deadlineMs: 0 });
    rmSync(folder, { recursive: true });
  });

  it('answers with HSTS, and speaks nothing older than TLS 1.2', async () => {
    const url = `${listening.addresses[0]?.url}/livez`;
    const ask = (options: https.RequestOptions): Promise<string | undefined> =>
      new Promise((resolve, reject) => {
        const request = https.get(url, { rejectUnauthorized: false, agent: false, ...options }, (reply) => {
          reply.resume();
          resolve(reply.headers['strict-transport-security']);
        });
        request.on('error', reject);
      });
    expect(await ask({})).toBe('max-age=31536000; includeSubDomains');
    await expect(
      ask({ maxVersion: 'TLSv1.1', minVersion: 'TLSv1', ciphers: 'DEFAULT@SECLEVEL=0' }),
    ).rejects.toThrow();
  });
});
