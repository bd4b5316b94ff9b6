/** An agent of a dialect that is sent more than it ever answers. */
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { WebSocket, WebSocketServer } from 'ws';
import { helloOf, withoutRegistration } from '../../api/bridge/dialects/registration.ts';
import { createLegacySocket } from '../../api/bridge/legacy-socket.ts';
import type { AgentFrame } from '../../contracts/agent-protocol.ts';
import { runFrame, shellAct } from '../support/scripted-bridge.ts';

let server: WebSocketServer;
beforeAll(async () => {
  server = new WebSocketServer({ port: 0, host: '127.0.0.1' });
  await once(server, 'listening');
});
afterAll(() => new Promise<void>((resolve) => server.close(() => resolve())));

const act = { ...shellAct('true'), shell: 'powershell' } as const;
/** More than are remembered. */
const MANY = 1_001;

test('a cancel says nothing of a command that may have left, however long ago, and holds one that has not', async () => {
  const accepted = once(server, 'connection');
  const peer = new WebSocket(`ws://127.0.0.1:${(server.address() as AddressInfo).port}`);
  const [ws] = (await accepted) as [WebSocket];
  await (peer.readyState === WebSocket.OPEN ? undefined : once(peer, 'open'));
  const registration = withoutRegistration();
  const reported: AgentFrame[] = [];
  const socket = createLegacySocket(
    ws,
    { agentId: 'old', address: '', hello: helloOf('old', 'old', registration), registration },
    {
      onHello: async () => undefined,
      onFrame: (_socket, frame) => void reported.push(frame),
      onClose: () => undefined,
      onProblem: () => undefined,
    },
    { expectAnswers: async () => undefined, findEvidence: async () => undefined },
  );
  socket.begin([]);
  socket.accept(1, helloOf('old', 'old', registration));
  const sent = Array.from({ length: MANY }, () => runFrame(act));
  const before = runFrame(act);
  socket.send({ type: 'cancel', commandId: before.commandId, reason: 'never mind' });
  for (const frame of sent) socket.send(frame);
  for (const { commandId } of sent) socket.send({ type: 'cancel', commandId, reason: 'stop' });
  const results = () => reported.filter((frame) => frame.type === 'result');
  expect(results().map(({ commandId, outcome }) => [commandId, outcome])).toEqual([
    [before.commandId, 'canceled'],
  ]);
  // Its run frame was on the way, behind more cancels than are remembered.
  const late = Array.from({ length: MANY }, () => runFrame(act));
  for (const { commandId } of late) socket.send({ type: 'cancel', commandId, reason: 'stop' });
  const last = late.at(-1) ?? before;
  socket.send(last);
  expect(results().at(-1)).toMatchObject({ commandId: last.commandId, outcome: 'canceled' });
  peer.close();
  await once(ws, 'close');
});
