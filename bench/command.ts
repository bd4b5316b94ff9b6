/** (b) An ad-hoc command to a websocket agent with a no-op executor, against the floor and a raw one-activity workflow. */
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { Client, Connection } from '@temporalio/client';
import pg from 'pg';
import { type WebSocket, WebSocketServer } from 'ws';
import type { BatchView } from '../contracts/commands.ts';
import { type Installation, RAW_TASK_QUEUE } from './installation.ts';
import { type Figures, figuresOf, timeMs } from './statistics.ts';

export interface CommandFigures {
  command: Figures;
  floor: Figures;
  raw: Figures;
}

export async function benchCommands(
  installation: Installation,
  report: (what: string) => void,
  scale: { rounds: number; samples: number },
): Promise<CommandFigures> {
  const connection = await Connection.connect({ address: installation.temporalAddress });
  const client = new Client({ connection });
  const floor = await startFloor(installation);
  const runRaw = (): Promise<unknown> =>
    client.workflow.execute('oneActivity', { taskQueue: RAW_TASK_QUEUE, workflowId: randomUUID() });
  const runCommand = async (): Promise<void> => {
    const batch = await installation.call<BatchView>('POST', '/v1/commands', {
      agentIds: [installation.agentId],
      act: { argv: ['true'] },
      waitMs: 10_000,
    });
    if (batch.commands[0]?.state !== 'succeeded') throw new Error(`unexpected ${batch.commands[0]?.state}`);
  };
  const samples = { command: [] as number[], floor: [] as number[], raw: [] as number[] };
  try {
    report('ad-hoc commands: warming up');
    for (let i = 0; i < 20; i++) await Promise.all([runCommand(), floor.run(), runRaw()]);
    for (let round = 0; round < scale.rounds; round++) {
      report(`ad-hoc commands: round ${round + 1} of ${scale.rounds}`);
      for (let i = 0; i < scale.samples; i++) {
        samples.floor.push(await timeMs(floor.run));
        samples.command.push(await timeMs(runCommand));
        if (i % 5 === 0) samples.raw.push(await timeMs(runRaw));
      }
    }
  } finally {
    await floor.close();
    await connection.close();
  }
  return {
    command: figuresOf(samples.command),
    floor: figuresOf(samples.floor),
    raw: figuresOf(samples.raw),
  };
}

/** The least a durable command can cost: insert and commit, one WebSocket round trip to another process, update and commit. */
async function startFloor(
  installation: Installation,
): Promise<{ run(): Promise<void>; close(): Promise<void> }> {
  const database = new pg.Client({ connectionString: installation.databaseUrl });
  await database.connect();
  await database.query('create table if not exists bench_floor (id uuid primary key, state text not null)');
  const server = new WebSocketServer({ host: '127.0.0.1', port: 0, perMessageDeflate: false });
  await once(server, 'listening');
  const connected = once(server, 'connection') as Promise<[WebSocket]>;
  const { port } = server.address() as AddressInfo;
  await installation.startPeer('echo-peer', { FLOOR_URL: `ws://127.0.0.1:${port}` }, /echo_peer_ready/);
  const [socket] = await connected;
  const waiting = new Map<string, () => void>();
  socket.on('message', (data) => waiting.get(data.toString())?.());
  return {
    async run() {
      const id = randomUUID();
      await database.query({
        name: 'floor_insert',
        text: `insert into bench_floor values ($1, 'sent')`,
        values: [id],
      });
      await new Promise<void>((resolve) => {
        waiting.set(id, resolve);
        socket.send(id);
      });
      waiting.delete(id);
      await database.query({
        name: 'floor_update',
        text: `update bench_floor set state = 'done' where id = $1`,
        values: [id],
      });
    },
    async close() {
      socket.terminate();
      server.close();
      await database.end();
    },
  };
}
