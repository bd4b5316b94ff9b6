import { connect } from 'node:net';
import { gzipSync } from 'node:zlib';
import { afterEach, describe, expect, test } from 'vitest';
import WebSocket from 'ws';
import { clientAddress, stripSecrets } from '../../api/context.ts';
import { listen } from '../../api/listen.ts';
import type { UpgradeRoute } from '../../api/upgrade.ts';
import { problem } from '../../contracts/errors.ts';
import { exampleRoutes } from '../support/example-routes.ts';
import { asUser, sendJson, startTestServer, type TestServer } from '../support/http.ts';

const opened: TestServer[] = [];
afterEach(async () => {
  await Promise.all(opened.splice(0).map((each) => each.close({ deadlineMs: 0 })));
});
async function start(given: Parameters<typeof startTestServer>[0] = {}): Promise<TestServer> {
  const server = await startTestServer({ routes: exampleRoutes(), ...given });
  opened.push(server);
  return server;
}

describe('rate limits', () => {
  test('calls are counted per principal, told in headers, and refused with Retry-After', async () => {
    const server = await start({ options: { rateLimit: true } });
    const first = await server.fetch('/v1/widgets/a', { headers: asUser });
    expect(first.headers.get('X-RateLimit-Limit')).toBe('1200');
    expect(first.headers.get('X-RateLimit-Remaining')).toBe('1199');
    const reset = Number(first.headers.get('X-RateLimit-Reset')) * 1000 - Date.now();
    expect(reset).toBeGreaterThan(50_000);
    expect(reset).toBeLessThan(62_000);
    const other = await server.fetch('/v1/widgets/a', { headers: { Authorization: 'Bearer user:bob' } });
    expect(other.headers.get('X-RateLimit-Remaining')).toBe('1199');
  });

  test('a stranger with bad tokens is counted by address and stopped', async () => {
    const server = await start({ options: { rateLimit: true } });
    const statuses = new Set<number>();
    for (let batch = 0; batch < 13; batch++) {
      const calls = Array.from({ length: 100 }, async () => {
        const response = await server.fetch('/v1/widgets/a', { headers: { Authorization: 'Bearer guess' } });
        if (response.status === 429) expect(Number(response.headers.get('Retry-After'))).toBeGreaterThan(0);
        return response.status;
      });
      for (const status of await Promise.all(calls)) statuses.add(status);
    }
    expect([...statuses].sort()).toEqual([401, 429]);
  });

  test('probes are never limited', async () => {
    const server = await start({ options: { rateLimit: true } });
    expect((await server.fetch('/livez')).headers.get('X-RateLimit-Limit')).toBeNull();
  });
});

describe('bodies', () => {
  test('compressed bodies, bytes that are not UTF-8 and chunked floods are refused', async () => {
    const server = await start();
    const json = { ...asUser, 'Content-Type': 'application/json' };
    const zipped = { method: 'POST', body: gzipSync('{}'), headers: { ...json, 'Content-Encoding': 'gzip' } };
    expect((await server.fetch('/v1/widgets', zipped)).status).toBe(415);
    const latin = { method: 'POST', body: Buffer.from([0x22, 0xe4, 0x22]), headers: json };
    expect((await server.fetch('/v1/widgets', latin)).status).toBe(400);
    const flood = new ReadableStream({
      pull: (controller) => controller.enqueue(new Uint8Array(256 * 1024)),
    });
    const endless = { method: 'POST', body: flood, headers: json, duplex: 'half' } as RequestInit;
    const answered = await server.fetch('/v1/widgets', endless).then(
      (response) => response.status,
      () => 'cut off',
    );
    expect([413, 'cut off']).toContain(answered);
  });
});

describe('headers', () => {
  test('every answer carries the security headers, HSTS only where the connection is encrypted', async () => {
    const server = await start({ options: { trustProxyHops: 1 } });
    const response = await server.fetch('/nowhere');
    expect(Object.fromEntries(response.headers)).toMatchObject({
      'x-content-type-options': 'nosniff',
      'x-frame-options': 'DENY',
      'referrer-policy': 'no-referrer',
      'permissions-policy': expect.stringContaining('camera=()'),
      'content-security-policy': expect.stringContaining('report-uri /api/system/csp-report'),
    });
    expect(response.headers.get('Strict-Transport-Security')).toBeNull();
    const encrypted = await server.fetch('/nowhere', { headers: { 'X-Forwarded-Proto': 'https' } });
    expect(encrypted.headers.get('Strict-Transport-Security')).toContain('max-age=');
  });

  test('another origin is answered only when it is listed', async () => {
    const server = await start();
    const listed = await server.fetch('/v1/widgets/a', {
      headers: { ...asUser, Origin: 'https://console.example' },
    });
    expect(listed.headers.get('Access-Control-Allow-Origin')).toBe('https://console.example');
    const other = await server.fetch('/v1/widgets/a', {
      headers: { ...asUser, Origin: 'https://evil.example' },
    });
    expect(other.headers.get('Access-Control-Allow-Origin')).toBeNull();
    const preflight = await server.fetch('/v1/widgets', {
      method: 'OPTIONS',
      headers: { Origin: 'https://console.example', 'Access-Control-Request-Method': 'POST' },
    });
    expect([preflight.status, preflight.headers.get('Access-Control-Allow-Methods')]).toEqual([
      204,
      'GET,HEAD,POST,PUT,PATCH,DELETE',
    ]);
  });

  test('a correlation id is taken when it is harmless, else replaced', async () => {
    const server = await start();
    const mine = await server.fetch('/livez', { headers: { 'X-Correlation-ID': 'abc-1' } });
    expect(mine.headers.get('X-Correlation-ID')).toBe('abc-1');
    const odd = await server.fetch('/livez', { headers: { 'X-Request-Id': 'a b<c>' } });
    expect(odd.headers.get('X-Request-Id')).toMatch(/^[0-9a-f-]{36}$/);
  });

  test('a token in a query is in no log line', async () => {
    const server = await start();
    await server.fetch('/v1/widgets/a?token=user:ada&x=1');
    await expect.poll(() => server.lines.length).toBe(1);
    expect(server.lines[0]).toMatchObject({
      event: 'http_request',
      path: '/v1/widgets/a?token=stripped&x=1',
      status: 200,
    });
    expect(JSON.stringify(server.lines)).not.toContain('user:ada');
    expect(stripSecrets('/a?Token=x&token=y&b=1')).toBe('/a?Token=stripped&token=stripped&b=1');
  });

  test.each([
    [0, '9.9.9.9', '10.0.0.1'],
    [1, 'spoofed, 9.9.9.9', '9.9.9.9'],
    [2, 'spoofed, 9.9.9.9, 10.0.0.2', '9.9.9.9'],
    [3, '9.9.9.9', '9.9.9.9'],
    [1, undefined, '10.0.0.1'],
  ])('behind %i proxies with %s the client is %s', (hops, header, address) => {
    const request = { headers: { 'x-forwarded-for': header }, socket: { remoteAddress: '10.0.0.1' } };
    expect(clientAddress(request as never, hops)).toBe(address);
  });
});

describe('sockets', () => {
  const upgrades = [
    {
      path: '/api/v1/ws/{agent_id}',
      handle: async (upgrade) => {
        if (upgrade.params.agent_id === 'bad') return upgrade.refuse('no such credential');
        if (upgrade.params.agent_id === 'none') throw problem('agent_not_found', { agentId: 'none' });
        (await upgrade.accept()).send(`hello ${upgrade.params.agent_id}`);
      },
    },
    { path: '/api/v1/ws/agent', handle: async (upgrade) => (await upgrade.accept()).send('literal') },
  ] satisfies UpgradeRoute[];

  function dial(server: TestServer, path: string): Promise<string> {
    const socket = new WebSocket(server.url('dex').replace('http', 'ws') + path);
    return new Promise((resolve, reject) => {
      socket.on('message', (data) => {
        resolve(String(data));
        socket.close();
      });
      socket.on('close', (code, reason) => resolve(`closed ${code} ${reason}`));
      socket.on('error', reject);
      socket.on('unexpected-response', (_request, response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('end', () => resolve(`${response.statusCode} ${Buffer.concat(chunks)}`));
      });
    });
  }

  test('one router for all sockets: parameters, literals first, refusals as 1008 or in plain HTTP', async () => {
    const server = await start({ upgrades });
    expect(await dial(server, '/api/v1/ws/a%2F1')).toBe('hello a/1');
    expect(await dial(server, '/api/v1/ws/agent/')).toBe('literal');
    expect(await dial(server, '/api/v1/ws/bad?token=secret')).toBe('closed 1008 no such credential');
    expect(await dial(server, '/api/v1/ws/none')).toMatch(/^404 .*"error":"Agent not found"/);
    expect(await dial(server, '/nowhere')).toMatch(/^404 .*"success":false/);
    server.shutdown();
    expect(await dial(server, '/api/v1/ws/a')).toMatch(/^503 .*SHUTDOWN_IN_PROGRESS/);
    expect(JSON.stringify(server.lines)).not.toContain('secret');
  });
});

describe('listeners', () => {
  function speak(server: TestServer, bytes: string): Promise<string> {
    const socket = connect(Number(new URL(server.url()).port), '127.0.0.1');
    let answer = '';
    socket.setEncoding('utf8').on('data', (text) => (answer += text));
    socket.end(bytes);
    return new Promise((resolve) => socket.on('close', () => resolve(answer)));
  }

  test('what is no HTTP, or has too many headers, is told so', async () => {
    const server = await start();
    expect(await speak(server, 'nonsense\r\n\r\n')).toMatch(/^HTTP\/1.1 400 /);
    expect(await speak(server, 'GET /livez?a=1 HTTP/1.1\r\nHost: a b\r\nConnection: close\r\n\r\n')).toMatch(
      /^HTTP\/1.1 200 /,
    );
    const large = `GET / HTTP/1.1\r\nHost: a\r\nX: ${'x'.repeat(20_000)}\r\n\r\n`;
    expect(await speak(server, large)).toMatch(/^HTTP\/1.1 431 /);
  });

  test('who offers another protocol is answered in this one: whole requests, also those that follow', async () => {
    const server = await start();
    const body = '{"title":"ü"}';
    const head = (line: string, ...headers: string[]) =>
      [line, 'Host: a', 'Authorization: Bearer user:ada', ...headers, '', ''].join('\r\n');
    const offer = ['Connection: Upgrade, HTTP2-Settings', 'Upgrade: h2c', 'HTTP2-Settings: AAMAAABkAAQAAP__'];
    const json = ['Content-Type: application/json', `Content-Length: ${Buffer.byteLength(body)}`];
    const answers = await speak(
      server,
      head('POST /v1/widgets HTTP/1.1', ...offer, ...json) +
        body +
        head('GET /v1/widgets/a HTTP/1.1', ...offer) +
        head('GET /livez HTTP/1.1', 'Connection: close'),
    );
    expect(answers.match(/HTTP\/1\.1 \d+/g)).toEqual(['HTTP/1.1 201', 'HTTP/1.1 200', 'HTTP/1.1 200']);
    expect(answers).toContain('"title":"ü"');
  });

  test('a port that is taken is named, and nothing stays open', async () => {
    const server = await start();
    const port = Number(new URL(server.url()).port);
    const log = { debug() {}, info() {}, warn() {}, error() {} };
    const app = { callback: () => () => {} } as never;
    const listener = { host: '127.0.0.1', profile: 'steel' } as const;
    const both = [
      { ...listener, port: 0 },
      { ...listener, port },
    ];
    await expect(listen({ app, upgrade: () => {}, log }, both)).rejects.toThrow(
      `cannot listen on 127.0.0.1:${port}`,
    );
  });

  test('closing waits for what is under way, is idempotent, and cuts off what outlives the deadline', async () => {
    const server = await start();
    const stream = await server.fetch('/v1/widgets/events', { headers: asUser });
    const created = server.fetch('/v1/widgets', sendJson({ title: 'x' }));
    await created;
    const text = stream.text();
    await Promise.all([server.close({ deadlineMs: 5_000 }), server.close()]);
    expect(await text).toContain('two');
    await expect(server.fetch('/livez')).rejects.toThrow();
  });
});
