/** (b) An ad-hoc command to a websocket agent with a no-op executor, against the floor and a raw one-activity workflow. */
import { randomUUID } from 'node:crypto';
import { Client, Connection } from '@temporalio/client';
import type { BatchView } from '../contracts/commands.ts';
import { type Installation, RAW_TASK_QUEUE } from './installation.ts';
import { type Figures, figuresOf, timeMs } from './statistics.ts';

export interface CommandFigures {
  /** In turn with the floor, call by call. */
  command: Figures;
  /** In turn with the workflows, block by block. */
  commandInRow: Figures;
  floor: Figures;
  raw: Figures;
}

/** Calls of each contender before any is counted: servers run for days, the compilers of theirs want some hundred calls. */
const WARM_UP_CALLS = 200;
/**
 * Commands and the floor take turns call by call. Commands and workflows take turns in blocks of so many: Temporal goes on
 * working after a workflow has answered, and one by one, the next command would pay for that.
 */
const BLOCK_CALLS = 25;

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
  const samples = {
    command: [] as number[],
    commandInRow: [] as number[],
    floor: [] as number[],
    raw: [] as number[],
  };
  try {
    report('ad-hoc commands: warming up');
    for (let i = 0; i < WARM_UP_CALLS; i++) await Promise.all([runCommand(), floor.run(), runRaw()]);
    for (let round = 0; round < scale.rounds; round++) {
      report(`ad-hoc commands: round ${round + 1} of ${scale.rounds}`);
      for (let done = 0; done < scale.samples; done += BLOCK_CALLS) {
        for (let i = 0; i < BLOCK_CALLS; i++) {
          samples.floor.push(await timeMs(floor.run));
          samples.command.push(await timeMs(runCommand));
        }
        for (let i = 0; i < BLOCK_CALLS; i++) samples.commandInRow.push(await timeMs(runCommand));
        for (let i = 0; i < BLOCK_CALLS / 5; i++) samples.raw.push(await timeMs(runRaw));
      }
    }
  } finally {
    await connection.close();
  }
  return {
    command: figuresOf(samples.command),
    commandInRow: figuresOf(samples.commandInRow),
    floor: figuresOf(samples.floor),
    raw: figuresOf(samples.raw),
  };
}

/** Start the floor (bench/processes/floor-server.ts) and its peer; both end with the installation. */
export async function startFloor(installation: Installation): Promise<{ run(): Promise<void> }> {
  const { databaseUrl } = installation;
  const match = await installation.startPeer(
    'floor-server',
    { DATABASE_URL: databaseUrl },
    /floor_server_ready (\S+)/,
  );
  const address = match?.[1];
  if (address === undefined) throw new Error('the floor did not say where it listens');
  await installation.startPeer('echo-peer', { FLOOR_URL: `ws://${address}` }, /echo_peer_ready/);
  return {
    async run() {
      const reply = await fetch(`http://${address}/${randomUUID()}`, { method: 'POST' });
      if (!reply.ok) throw new Error(`the floor answered ${reply.status}`);
      await reply.json();
    },
  };
}
