/** A body that is read while its sender's session is looked up: what is done with it before the sender is let in. */
import net from 'node:net';
import { afterEach, expect, it } from 'vitest';
import { z } from 'zod';
import { mount } from '../../api/mount.ts';
import { problem } from '../../contracts/errors.ts';
import { rateClasses } from '../../contracts/rate-classes.ts';
import { defineRoute } from '../../contracts/route.ts';
import { authenticateByName, sendJson, startTestServer, type TestServer } from '../support/http.ts';
import { waitFor } from '../support/scripted-bridge.ts';

let parsed = 0;
const route = defineRoute({
  method: 'POST',
  path: '/v1/early',
  family: 'house',
  tags: ['test'],
  summary: 'Takes a body',
  auth: 'user',
  verb: 'create',
  resource: 'task',
  // By the principal, and small.
  rateClass: 'cli_backend',
  body: z.object({ title: z.string() }).transform((body) => {
    parsed += 1;
    return body;
  }),
  replies: { 200: z.object({}) },
});

const opened: TestServer[] = [];
afterEach(async () => {
  parsed = 0;
  await Promise.all(opened.splice(0).map((each) => each.close({ deadlineMs: 0 })));
});

/** The session of `gone` has ended, and everybody's token is ours: the body is read at once. */
async function start(given: Parameters<typeof startTestServer>[0]): Promise<TestServer> {
  const server = await startTestServer({
    routes: [mount(route, async () => ({ status: 200, body: {} }))],
    authenticate: async (source, onGenuine) => {
      const principal = authenticateByName(source);
      onGenuine?.();
      // Time for all of a small body to come.
      await new Promise((resolve) => setTimeout(resolve, 50));
      if ((await principal)?.id === 'gone') throw problem('invalid_token');
      return principal;
    },
    ...given,
  });
  opened.push(server);
  return server;
}

const post = (server: TestServer, name: string) =>
  server.fetch('/v1/early', sendJson({ title: 'x' }, { authorization: `Bearer user:${name}` }));

it('is parsed for who may send it', async () => {
  expect((await post(await start({}), 'ada')).status).toBe(200);
  expect(parsed).toBe(1);
});

it('is not parsed for a session that has ended', async () => {
  expect((await post(await start({}), 'gone')).status).toBe(401);
  expect(parsed).toBe(0);
});

it('is not parsed for who may not do this', async () => {
  expect((await post(await start({ can: () => false }), 'ada')).status).toBe(403);
  expect(parsed).toBe(0);
});

it('is not parsed for who has used up the rate', async () => {
  const server = await start({ options: { rateLimit: true } });
  for (let call = 0; call < rateClasses.cli_backend.calls; call += 1)
    expect((await post(server, 'ada')).status).toBe(200);
  expect((await post(server, 'ada')).status).toBe(429);
  expect(parsed).toBe(rateClasses.cli_backend.calls);
});

it('is read to its end, however long, when its sender was refused: the connection goes on', async () => {
  const { port } = new URL((await start({})).url());
  const socket = net.connect(Number(port), '127.0.0.1');
  let got = '';
  socket.on('data', (bytes) => {
    got += bytes.toString('latin1');
  });
  const answered = (status: number) =>
    waitFor(`the answer ${status}`, () => got.includes(`HTTP/1.1 ${status} `));
  socket.write(
    'POST /v1/early HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer user:gone\r\n' +
      'Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n',
  );
  await answered(401);
  // More than is thrown away of a body that is too large.
  const chunk = Buffer.concat([Buffer.from('100000\r\n'), Buffer.alloc(0x100000, 'a'), Buffer.from('\r\n')]);
  for (let mebibytes = 0; mebibytes < 32; mebibytes += 1) socket.write(chunk);
  socket.write('0\r\n\r\nGET /v1/no-such-thing HTTP/1.1\r\nHost: x\r\n\r\n');
  await answered(404);
  socket.destroy();
});
