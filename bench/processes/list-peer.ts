/**
 * The floor of a list: hand-written SQL behind bare Koa. It reads what `GET /v1/tasks` shows, by the same keyset, and
 * gives the rows to JSON.stringify; it knows nobody and checks nothing. Environment: DATABASE_URL.
 */
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import Koa from 'koa';
import pg from 'pg';

const { DATABASE_URL: connectionString } = process.env;
if (connectionString === undefined) throw new Error('DATABASE_URL is needed');
const pool = new pg.Pool({ connectionString, max: 4 });
pg.types.setTypeParser(pg.types.builtins.INT8, Number);

const columns = `public_id as "id", kind, title, goal, mode, state, rev + 1 as "version", run_no as "runNo",
  step_no as "step", target, agent_id as "agentId", waiting_reason as "waitingReason", priority, tags,
  depends_on as "dependsOn", parent_task_id as "parentTaskId", pre_approved as "preApproved",
  max_steps as "maxSteps", deadline_at as "deadlineAt", approval_timeout_ms as "approvalTimeoutMs",
  command_timeout_ms as "commandTimeoutMs", expiry_ms as "expiryMs", creator_kind as "creatorKind",
  creator_id as "creatorId", creator_name as "creatorName", created_at as "createdAt", updated_at as "updatedAt",
  cancel_requested_at as "cancelRequestedAt", ended_at as "endedAt", result, seal_sha256 as "seal",
  archived_at as "archivedAt"`;

interface Row {
  id: string;
  createdAt: Date;
}

const app = new Koa();
app.use(async (ctx) => {
  const limit = Number(ctx.query.limit);
  const { cursor } = ctx.query;
  let rows: Row[];
  if (typeof cursor === 'string') {
    const [at, id] = JSON.parse(Buffer.from(cursor, 'base64url').toString()) as [number, string];
    ({ rows } = await pool.query<Row>({
      name: 'next_page',
      text: `select ${columns} from tasks
             where deleted_at is null and archived_at is null and (created_at, id) < ($1, $2)
             order by tasks.created_at desc, tasks.id desc limit $3`,
      values: [new Date(at), id, limit + 1],
    }));
  } else {
    ({ rows } = await pool.query<Row>({
      name: 'first_page',
      text: `select ${columns} from tasks where deleted_at is null and archived_at is null
             order by tasks.created_at desc, tasks.id desc limit $1`,
      values: [limit + 1],
    }));
  }
  const items = rows.slice(0, limit);
  const last = rows.length > limit ? items.at(-1) : undefined;
  const nextCursor =
    last && Buffer.from(JSON.stringify([last.createdAt.getTime(), last.id])).toString('base64url');
  ctx.type = 'application/json';
  ctx.body = JSON.stringify({ items, nextCursor: nextCursor ?? null });
});

const server = createServer(app.callback());
server.listen(0, '127.0.0.1');
await once(server, 'listening');
process.on('SIGTERM', () => {
  server.close();
  server.closeAllConnections();
  void pool.end();
});
console.log(`list_peer_ready 127.0.0.1:${(server.address() as AddressInfo).port}`);
