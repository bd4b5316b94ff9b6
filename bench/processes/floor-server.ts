/**
 * The floor: the least a durable command over HTTP can cost. A bare Koa route that inserts a row and commits, makes one
 * WebSocket round trip to another process, updates the row and commits. Environment: DATABASE_URL.
 */
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import Koa from 'koa';
import pg from 'pg';
import { type WebSocket, WebSocketServer } from 'ws';

const { DATABASE_URL: connectionString } = process.env;
if (connectionString === undefined) throw new Error('DATABASE_URL is needed');
const pool = new pg.Pool({ connectionString, max: 4 });
await pool.query('create table if not exists bench_floor (id uuid primary key, state text not null)');

let peer: WebSocket | undefined;
const waiting = new Map<string, () => void>();

const app = new Koa();
app.use(async (ctx) => {
  const id = ctx.path.slice(1);
  await pool.query({
    name: 'floor_insert',
    text: `insert into bench_floor values ($1, 'sent')`,
    values: [id],
  });
  await new Promise<void>((resolve) => {
    waiting.set(id, resolve);
    peer?.send(id);
  });
  waiting.delete(id);
  await pool.query({
    name: 'floor_update',
    text: `update bench_floor set state = 'done' where id = $1`,
    values: [id],
  });
  ctx.body = { id, state: 'done' };
});

const server = createServer(app.callback());
const sockets = new WebSocketServer({ server, perMessageDeflate: false });
sockets.on('connection', (socket) => {
  peer = socket;
  socket.on('message', (data) => waiting.get(data.toString())?.());
});
server.listen(0, '127.0.0.1');
await once(server, 'listening');
process.on('SIGTERM', () => {
  server.close();
  server.closeAllConnections();
  peer?.terminate();
  void pool.end();
});
console.log(`floor_server_ready 127.0.0.1:${(server.address() as AddressInfo).port}`);
