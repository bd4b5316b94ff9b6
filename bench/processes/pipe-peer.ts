/**
 * The floor of a stream: a bare server that passes a request on and pipes what comes back, byte by byte. It knows nobody,
 * reads nothing and stores nothing. Environment: PIPE_TARGET.
 */
import { once } from 'node:events';
import { Agent, createServer, request as open } from 'node:http';
import type { AddressInfo } from 'node:net';

const { PIPE_TARGET: target } = process.env;
if (target === undefined) throw new Error('PIPE_TARGET is needed');
const agent = new Agent({ keepAlive: true });

const server = createServer((incoming, outgoing) => {
  const onward = open(`${target}/v1/messages`, {
    method: 'POST',
    agent,
    headers: { 'content-type': 'application/json' },
  });
  onward.on('response', (answer) => {
    outgoing.writeHead(answer.statusCode ?? 502, { 'content-type': answer.headers['content-type'] });
    answer.pipe(outgoing);
  });
  onward.on('error', () => outgoing.destroy());
  incoming.pipe(onward);
});
server.listen(0, '127.0.0.1');
await once(server, 'listening');
process.on('SIGTERM', () => {
  server.close();
  server.closeAllConnections();
  agent.destroy();
});
console.log(`pipe_peer_ready 127.0.0.1:${(server.address() as AddressInfo).port}`);
