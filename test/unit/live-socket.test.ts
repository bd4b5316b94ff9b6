/** A client that is not read for a while: it cannot show that it is there. */
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test, vi } from 'vitest';
import { WebSocket, WebSocketServer } from 'ws';
import { createLiveSocket } from '../../api/live-socket.ts';
import { PING_INTERVAL_MS } from '../../contracts/agent-protocol.ts';

let server: WebSocketServer;
beforeAll(async () => {
  server = new WebSocketServer({ port: 0, host: '127.0.0.1' });
  await once(server, 'listening');
});
afterAll(() => new Promise<void>((resolve) => server.close(() => resolve())));
beforeEach(() => void vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] }));
afterEach(() => void vi.useRealTimers());

async function connect() {
  const accepted = once(server, 'connection');
  const peer = new WebSocket(`ws://127.0.0.1:${(server.address() as AddressInfo).port}`, { autoPong: false });
  const [ws] = (await accepted) as [WebSocket];
  await (peer.readyState === WebSocket.OPEN ? undefined : once(peer, 'open'));
  const { signal } = new AbortController();
  const live = createLiveSocket(ws, { shutdown: signal, onFrame: () => undefined });
  return { ws, peer, live };
}

test('it stays while it is held, and is cut off when it is read again and does not answer', async () => {
  const { ws, peer, live } = await connect();
  ws.pause();
  for (let tick = 1; tick <= 5; tick += 1) vi.advanceTimersByTime(PING_INTERVAL_MS);
  expect(ws.readyState).toBe(WebSocket.OPEN);
  ws.resume();
  // What it answered meanwhile is not read yet.
  vi.advanceTimersByTime(PING_INTERVAL_MS);
  expect(ws.readyState).toBe(WebSocket.OPEN);
  const ended = once(peer, 'close');
  for (let tick = 1; tick <= 3; tick += 1) vi.advanceTimersByTime(PING_INTERVAL_MS);
  await ended;
  await expect.poll(() => live.closed.aborted).toBe(true);
});
