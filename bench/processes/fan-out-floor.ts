/**
 * The floor of a command to many agents: "ws and two batched commits". One statement inserts a row an agent and commits,
 * a frame goes out to each, and when all have answered one statement updates the rows and commits. It knows nobody,
 * writes no audit row and no event, and loses everything when it is killed in between. Environment: DATABASE_URL.
 */
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import pg from 'pg';
import { type WebSocket, WebSocketServer } from 'ws';

const { DATABASE_URL: connectionString } = process.env;
if (connectionString === undefined) throw new Error('DATABASE_URL is needed');
const pool = new pg.Pool({ connectionString, max: 2 });
await pool.query(
  `create table if not exists bench_fan_out
   (id uuid primary key, agent_id text not null, state text not null, exit_code integer)`,
);

const agents = new Map<string, WebSocket>();
let onOutcome: (id: string, exitCode: number) => void = () => undefined;

async function fanOut(): Promise<number> {
  const rows = [...agents.keys()].map((agentId) => ({ id: randomUUID(), agentId }));
  const ids = rows.map(({ id }) => id);
  await pool.query({
    name: 'fan_out_insert',
    text: `insert into bench_fan_out (id, agent_id, state)
           select id, agent_id, 'sent' from unnest($1::uuid[], $2::text[]) as r(id, agent_id)`,
    values: [ids, rows.map(({ agentId }) => agentId)],
  });
  const outcomes = new Map<string, number>();
  const answered = new Promise<void>((resolve) => {
    onOutcome = (id, exitCode) => {
      outcomes.set(id, exitCode);
      if (outcomes.size === rows.length) resolve();
    };
  });
  for (const { id, agentId } of rows)
    agents.get(agentId)?.send(JSON.stringify({ type: 'run', id, act: { argv: ['true'] } }));
  await answered;
  await pool.query({
    name: 'fan_out_update',
    text: `update bench_fan_out f set state = 'done', exit_code = r.exit_code
           from unnest($1::uuid[], $2::integer[]) as r(id, exit_code) where f.id = r.id`,
    values: [[...outcomes.keys()], [...outcomes.values()]],
  });
  return rows.length;
}

const server = createServer((request, response) => {
  if (request.url === '/agents') return void response.end(String(agents.size));
  void fanOut().then((count) => response.end(JSON.stringify({ count })));
});
const sockets = new WebSocketServer({ server, perMessageDeflate: false });
sockets.on('connection', (socket, request) => {
  const agentId = (request.url ?? '').slice(1);
  agents.set(agentId, socket);
  socket.on('close', () => agents.delete(agentId));
  socket.on('message', (data) => {
    const { id, exitCode } = JSON.parse(data.toString());
    onOutcome(id, exitCode);
  });
});
server.listen(0, '127.0.0.1');
await once(server, 'listening');
process.on('SIGTERM', () => process.exit());
console.log(`fan_out_floor_ready 127.0.0.1:${(server.address() as AddressInfo).port}`);
