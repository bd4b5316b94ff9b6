/** The floor's other end: a WebSocket client that answers every frame with its own text. Environment: FLOOR_URL. */
import WebSocket from 'ws';

const url = process.env.FLOOR_URL;
if (url === undefined) throw new Error('FLOOR_URL is needed');
const socket = new WebSocket(url, { perMessageDeflate: false });
socket.on('message', (data) => socket.send(data.toString()));
socket.on('open', () => console.log('echo_peer_ready'));
// Its measurement ends before the installation does, and a program that ends by itself would stop the others.
const untilStopped = setInterval(() => {}, 60_000);
process.on('SIGTERM', () => {
  clearInterval(untilStopped);
  socket.terminate();
});
