/** The floor's agents: each answers a frame with an outcome at once. Environment: FLOOR_URL, FLOOR_AGENTS. */
import { once } from 'node:events';
import WebSocket from 'ws';

const { FLOOR_URL: url, FLOOR_AGENTS: count } = process.env;
if (url === undefined || count === undefined) throw new Error('FLOOR_URL and FLOOR_AGENTS are needed');
for (let at = 0; at < Number(count); at += 1) {
  const socket = new WebSocket(`${url}/peer-${at}`, { perMessageDeflate: false });
  socket.on('message', (data) => {
    const { id } = JSON.parse(data.toString());
    socket.send(JSON.stringify({ type: 'result', id, exitCode: 0 }));
  });
  await once(socket, 'open');
}
process.on('SIGTERM', () => process.exit());
console.log('fan_out_peers_ready');
