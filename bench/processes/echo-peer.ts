/** The floor's other end: a WebSocket client that answers every frame with its own text. Environment: FLOOR_URL. */
import WebSocket from 'ws';

const url = process.env.FLOOR_URL;
if (url === undefined) throw new Error('FLOOR_URL is needed');
const socket = new WebSocket(url, { perMessageDeflate: false });
socket.on('message', (data) => socket.send(data.toString()));
socket.on('open', () => console.log('echo_peer_ready'));
process.on('SIGTERM', () => socket.close());
