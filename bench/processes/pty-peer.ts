/** The peer of terminals: node-pty and ws with nothing between them. */
import { spawn } from 'node-pty';
import { WebSocketServer } from 'ws';

const server = new WebSocketServer({ port: 0, host: '127.0.0.1', perMessageDeflate: false });
server.on('connection', (ws) => {
  const pty = spawn('sh', [], {
    cols: 80,
    rows: 24,
    encoding: null,
    cwd: '/',
    env: { PATH: process.env.PATH },
  });
  pty.onData((data: string | Buffer) => ws.send(Buffer.from(data)));
  ws.on('message', (data) => pty.write(data.toString()));
  ws.on('close', () => pty.kill('SIGKILL'));
  pty.onExit(() => ws.close());
});
server.on('listening', () => {
  const address = server.address();
  if (address !== null && typeof address === 'object')
    console.log(`pty_peer_ready ws://127.0.0.1:${address.port}`);
});
