/** A peer that acknowledges nothing, not even that it is there. */
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { WebSocket, WebSocketServer } from 'ws';
import { createWire } from '../../api/bridge/wire.ts';

let server: WebSocketServer;
beforeAll(async () => {
  server = new WebSocketServer({ port: 0, host: '127.0.0.1' });
  await once(server, 'listening');
});
afterAll(() => new Promise<void>((resolve) => server.close(() => resolve())));

/** Both ends of a socket: the wire of the bridge, and the peer. */
async function connect({ answersPings }: { answersPings: boolean }) {
  const accepted = once(server, 'connection');
  const peer = new WebSocket(`ws://127.0.0.1:${(server.address() as AddressInfo).port}`, {
    autoPong: answersPings,
  });
  const [ws] = (await accepted) as [WebSocket];
  await (peer.readyState === WebSocket.OPEN ? undefined : once(peer, 'open'));
  let closed = 0;
  const pongs = { count: 0, next: () => once(ws, 'pong') };
  const wire = createWire(ws, {
    onProblem: () => undefined,
    onClosed() {
      closed += 1;
    },
    onPong() {
      pongs.count += 1;
    },
  });
  return { wire, peer, pongs, closedCount: () => closed };
}

test('it is cut off at the next look, and that is told once', async () => {
  const { wire, peer, closedCount } = await connect({ answersPings: false });
  const ended = once(peer, 'close');
  const pinged = once(peer, 'ping');
  wire.checkAlive();
  await pinged;
  expect(wire.isClosing()).toBe(false);
  wire.checkAlive();
  const [code] = await ended;
  expect(code).toBe(1006);
  await expect.poll(() => wire.isClosing()).toBe(true);
  expect(closedCount()).toBe(1);
  expect(wire.send('late')).toBe(false);
});

test('one that answers stays', async () => {
  const { wire, peer, pongs } = await connect({ answersPings: true });
  for (let look = 1; look <= 3; look += 1) {
    const answered = pongs.next();
    wire.checkAlive();
    await answered;
    expect(pongs.count).toBe(look);
  }
  expect(wire.isClosing()).toBe(false);
  peer.close();
  await expect.poll(() => wire.isClosing()).toBe(true);
});

test('one that was not read meanwhile is not taken for dead as soon as it is read again', async () => {
  const { wire, peer } = await connect({ answersPings: true });
  const much = 16 * 1024 * 1024;
  wire.received(much);
  wire.checkAlive();
  wire.stored(much);
  wire.checkAlive();
  expect(wire.send('still here')).toBe(true);
  peer.close();
  await expect.poll(() => wire.isClosing()).toBe(true);
});
