/** What goes out: only to addresses that were checked, once, within its bounds. Real sockets on this machine. */
import { createServer, type IncomingMessage, type RequestListener, type Server } from 'node:http';
import { createServer as createTcpServer, type Server as TcpServer } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { createOutbound, type OutboundOptions } from '../../outbound/outbound.ts';
import { createResolver } from '../../outbound/resolver.ts';
import { hostileUrls } from './hostile-urls.ts';

const servers: (Server | TcpServer)[] = [];

afterEach(async () => {
  for (const server of servers.splice(0)) {
    if ('closeAllConnections' in server) server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
});

interface Listening {
  port: number;
  connections: number;
  requests: IncomingMessage[];
}

/** A listener that counts what reaches it. */
function listen(address: string, answer: RequestListener, port = 0): Promise<Listening> {
  const seen: Listening = { port, connections: 0, requests: [] };
  const server = createServer((request, response) => {
    seen.requests.push(request);
    answer(request, response);
  });
  server.on('connection', () => {
    seen.connections += 1;
  });
  return start(server, address, port, seen);
}

function listenRaw(bytes: (socket: import('node:net').Socket) => void): Promise<Listening> {
  const seen: Listening = { port: 0, connections: 0, requests: [] };
  const server = createTcpServer((socket) => {
    seen.connections += 1;
    socket.on('error', () => undefined);
    socket.once('data', () => bytes(socket));
  });
  return start(server, '127.0.0.1', 0, seen);
}

async function start(server: Server | TcpServer, address: string, port: number, seen: Listening) {
  servers.push(server);
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, address, resolve);
  });
  const bound = server.address();
  seen.port = typeof bound === 'object' && bound !== null ? bound.port : 0;
  return seen;
}

const ok: RequestListener = (_request, response) => response.end('taken');

const createGuarded = (options: Partial<OutboundOptions> = {}) =>
  createOutbound({ allow: [], allowsPublic: true, listName: 'WEBHOOK_URL_ALLOW', ...options });
const createLocal = (options: Partial<OutboundOptions> = {}) =>
  createGuarded({ allow: ['127.0.0.0/8'], ...options });

describe('the guard', () => {
  it('lets no packet of the corpus reach a listener', async () => {
    const four = await listen('0.0.0.0', ok);
    const six = await listen('::', ok, four.port).catch(() => undefined);
    const outbound = createGuarded();
    for (const url of hostileUrls(four.port))
      expect(await outbound.request({ url, method: 'POST', body: 'x' }), url).toMatchObject({
        kind: 'refused',
      });
    expect(four.connections + (six?.connections ?? 0)).toBe(0);
    // The listener does listen.
    expect(
      await createLocal().request({ url: `http://127.0.0.1:${four.port}/`, method: 'GET' }),
    ).toMatchObject({
      status: 200,
    });
  });

  it.each([
    ['an inner address', ['127.0.0.1']],
    ['a public and an inner one, in either order', ['93.184.215.14', '127.0.0.1']],
    ['an inner and a public one', ['10.0.0.1', '93.184.215.14']],
    ['a mapped one', ['::ffff:127.0.0.1']],
    ['where clouds serve credentials', ['169.254.169.254']],
  ])('refuses a host name that resolves to %s', async (_what, addresses) => {
    const listener = await listen('127.0.0.1', ok);
    const outbound = createGuarded({ resolve: async () => addresses });
    const answer = await outbound.request({ url: `http://rebind.example:${listener.port}/`, method: 'GET' });
    expect(answer).toMatchObject({ kind: 'refused', code: 'address_not_allowed' });
    expect(JSON.stringify(answer)).not.toMatch(/\d+\.\d+\.\d+\.\d+|::/);
    expect(listener.connections).toBe(0);
  });

  it('never allows what a listed host must not be: link-local, translated, multicast', async () => {
    for (const address of [
      '169.254.169.254',
      '64:ff9b::7f00:1',
      '::ffff:127.0.0.1',
      '224.0.0.1',
      '0.0.0.0',
    ]) {
      const outbound = createGuarded({ allow: ['hooks.internal'], resolve: async () => [address] });
      expect(await outbound.request({ url: 'http://hooks.internal/', method: 'GET' }), address).toMatchObject(
        {
          code: 'address_not_allowed',
        },
      );
    }
  });

  it('dials what it checked when the resolver changes its mind', async () => {
    const checked = await listen('127.0.0.2', ok);
    const inner = await listen('127.0.0.1', ok, checked.port);
    const answers = [['127.0.0.2'], ['127.0.0.1'], ['127.0.0.1']];
    const outbound = createGuarded({
      allow: ['127.0.0.2'],
      resolve: async () => answers.shift() ?? ['127.0.0.1'],
    });
    const url = `http://rebind.example:${checked.port}/path?q=1`;
    expect(await outbound.request({ url, method: 'GET' })).toMatchObject({ kind: 'answered', status: 200 });
    expect(answers).toHaveLength(2);
    expect(checked.requests[0]?.headers.host).toBe(`rebind.example:${checked.port}`);
    expect(checked.requests[0]?.url).toBe('/path?q=1');
    expect(inner.connections).toBe(0);
  });

  it('takes a listed host at any inner address', async () => {
    const listener = await listen('127.0.0.1', ok);
    const outbound = createGuarded({ allow: ['hooks.internal'], resolve: async () => ['127.0.0.1'] });
    expect(
      await outbound.request({ url: `http://hooks.internal:${listener.port}/`, method: 'GET' }),
    ).toMatchObject({ status: 200 });
  });

  it('follows no redirect', async () => {
    const inner = await listen('127.0.0.3', ok);
    const listener = await listen('127.0.0.1', (_request, response) => {
      response.writeHead(307, { location: `http://127.0.0.3:${inner.port}/` }).end();
    });
    const answer = await createLocal().request({ url: `http://127.0.0.1:${listener.port}/`, method: 'POST' });
    expect(answer).toMatchObject({ kind: 'answered', status: 307 });
    expect(inner.connections).toBe(0);
  });

  it('pays no heed to proxies of the environment', async () => {
    const proxy = await listen('127.0.0.1', ok);
    const listener = await listen('127.0.0.2', ok);
    process.env.HTTP_PROXY = process.env.http_proxy = `http://127.0.0.1:${proxy.port}`;
    try {
      await createLocal().request({ url: `http://127.0.0.2:${listener.port}/`, method: 'GET' });
    } finally {
      delete process.env.HTTP_PROXY;
      delete process.env.http_proxy;
    }
    expect([proxy.connections, listener.connections]).toEqual([0, 1]);
  });
});

describe('the exchange', () => {
  it('sends the body and the headers, but not those that say where a message ends', async () => {
    const bodies: string[] = [];
    const listener = await listen('127.0.0.1', async (request, response) => {
      const chunks: Buffer[] = [];
      for await (const chunk of request) chunks.push(chunk as Buffer);
      bodies.push(Buffer.concat(chunks).toString());
      response.writeHead(201, { 'x-answer': 'yes' }).end('taken');
    });
    const answer = await createLocal().request({
      url: `http://127.0.0.1:${listener.port}/hook`,
      method: 'POST',
      headers: {
        authorization: 'Bearer t',
        Host: 'evil.example',
        'Content-Length': '1',
        'Transfer-Encoding': 'x',
      },
      body: '{"größe":1}',
    });
    expect(answer).toMatchObject({
      kind: 'answered',
      status: 201,
      isCut: false,
      headers: { 'x-answer': 'yes' },
    });
    expect(answer.kind === 'answered' && answer.body.toString()).toBe('taken');
    expect(bodies).toEqual(['{"größe":1}']);
    expect(listener.requests[0]?.headers).toMatchObject({
      authorization: 'Bearer t',
      host: `127.0.0.1:${listener.port}`,
      'content-length': '13',
    });
    expect(listener.requests[0]?.headers['transfer-encoding']).toBeUndefined();
  });

  it('reads no more than it is told to', async () => {
    const listener = await listen('127.0.0.1', (_request, response) => {
      const chunk = Buffer.alloc(64 * 1024, 'a');
      const pour = () => {
        while (!response.destroyed && response.write(chunk));
        if (!response.destroyed) response.once('drain', pour);
      };
      response.on('error', () => undefined);
      pour();
    });
    const answer = await createLocal().request({
      url: `http://127.0.0.1:${listener.port}/`,
      method: 'GET',
      maxResponseBytes: 1_000,
    });
    expect(answer).toMatchObject({ kind: 'answered', status: 200, isCut: true });
    expect(answer.kind === 'answered' && answer.body.length).toBe(1_000);
  });

  it.each<[string, RequestListener]>([
    ['does not answer', () => undefined],
    ['never ends its answer', (_request, response) => void response.writeHead(200).write('a')],
  ])('gives up on a server that %s', async (_what, answer) => {
    const listener = await listen('127.0.0.1', answer);
    expect(
      await createLocal().request({
        url: `http://127.0.0.1:${listener.port}/`,
        method: 'GET',
        timeoutMs: 1_500,
      }),
    ).toMatchObject({ kind: 'failed', code: 'timeout', mayHaveArrived: true });
  });

  it('gives up on a resolver that does not answer, and says that nothing was sent', async () => {
    const outbound = createGuarded({ resolve: () => new Promise(() => undefined) });
    expect(
      await outbound.request({ url: 'http://slow.example/', method: 'GET', timeoutMs: 50 }),
    ).toMatchObject({ kind: 'failed', code: 'timeout', mayHaveArrived: false });
  });

  it('asks for a name once at a time: one that nobody answers for holds up no other', async () => {
    const asked: string[] = [];
    let answer = (): void => undefined;
    const answered = new Promise<void>((resolve) => {
      answer = resolve;
    });
    const resolve = createResolver(async (hostname) => {
      asked.push(hostname);
      if (hostname === 'silent.test') await answered;
      return [{ address: '192.0.2.1' }];
    });
    const silent = Array.from({ length: 5 }, () => resolve('silent.test'));
    expect(await resolve('other.test')).toEqual(['192.0.2.1']);
    answer();
    expect(await Promise.all(silent)).toEqual(silent.map(() => ['192.0.2.1']));
    expect(asked).toEqual(['silent.test', 'other.test']);
    await resolve('silent.test');
    expect(asked).toHaveLength(3);
  });

  it('says when a host has no address, and when nobody listens', async () => {
    const outbound = createGuarded({ resolve: () => Promise.reject(new Error('ENOTFOUND')) });
    expect(await outbound.request({ url: 'http://nobody.example/', method: 'GET' })).toMatchObject({
      code: 'dns_failed',
      mayHaveArrived: false,
    });
    const gone = await listen('127.0.0.1', ok);
    for (const server of servers.splice(0)) await new Promise((resolve) => server.close(resolve));
    expect(
      await createLocal().request({ url: `http://127.0.0.1:${gone.port}/`, method: 'GET' }),
    ).toMatchObject({ code: 'connect_failed', mayHaveArrived: false });
  });

  it.each<[string, string, string]>([
    ['garbage', 'not HTTP at all\r\n\r\n', 'response_invalid'],
    ['a header without end', `HTTP/1.1 200 OK\r\nx: ${'a'.repeat(40_000)}\r\n\r\n`, 'response_invalid'],
    ['nothing', '', 'connection_lost'],
    ['half an answer', 'HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc', 'connection_lost'],
    ['another protocol', 'HTTP/1.1 101 X\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n', 'response_invalid'],
  ])('says so when it is answered %s', async (_what, bytes, code) => {
    const listener = await listenRaw((socket) => socket.end(bytes));
    expect(
      await createLocal().request({ url: `http://127.0.0.1:${listener.port}/`, method: 'GET' }),
    ).toMatchObject({ kind: 'failed', code, mayHaveArrived: true });
  });

  it('is given up by its caller', async () => {
    const controller = new AbortController();
    const listener = await listen('127.0.0.1', () => controller.abort());
    expect(
      await createLocal().request({
        url: `http://127.0.0.1:${listener.port}/`,
        method: 'GET',
        signal: controller.signal,
      }),
    ).toMatchObject({ kind: 'failed', code: 'aborted' });
  });

  it('refuses what HTTP does not allow in a header', async () => {
    const listener = await listen('127.0.0.1', ok);
    const url = `http://127.0.0.1:${listener.port}/`;
    expect(
      await createLocal().request({ url, method: 'GET', headers: { authorization: 'a\r\nx: y' } }),
    ).toMatchObject({ kind: 'refused', code: 'request_invalid' });
    expect(listener.requests).toHaveLength(0);
  });
});
