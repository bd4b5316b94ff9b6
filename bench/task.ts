/** (a) A task of one step, 0 ms model, `auto` mode, against a raw workflow with two no-op activities. */
import { randomUUID } from 'node:crypto';
import { Client, Connection } from '@temporalio/client';
import type { TaskView } from '../contracts/tasks.ts';
import { type Installation, RAW_TASK_QUEUE } from './installation.ts';
import { type Figures, figuresOf, throughput, timeMs } from './statistics.ts';

export interface TaskFigures {
  task: { latencyMs: Figures; perSecond: number };
  raw: { latencyMs: Figures; perSecond: number };
}

const IN_FLIGHT = 32;
/** Runs of each contender before the first that counts. */
const WARM_UP_COUNT = 100;

export async function benchTasks(
  installation: Installation,
  report: (what: string) => void,
  scale: { rounds: number; latencySamples: number; throughputCount: number },
): Promise<TaskFigures> {
  const connection = await Connection.connect({ address: installation.temporalAddress });
  const client = new Client({ connection });
  const ends = await followEnds(installation);
  const runTask = async (): Promise<void> => {
    const task = await installation.call<TaskView>('POST', '/v1/tasks', {
      goal: 'run `true`',
      mode: 'auto',
      preApproved: ['true'],
      target: { agentId: installation.agentId },
    });
    await ends.wait(task.id);
  };
  const runRaw = (): Promise<unknown> =>
    client.workflow.execute('twoActivities', { taskQueue: RAW_TASK_QUEUE, workflowId: randomUUID() });

  const samples = { task: [] as number[], raw: [] as number[] };
  const rates = { task: [] as number[], raw: [] as number[] };
  try {
    report('tasks: warming up');
    for (let i = 0; i < 5; i++) await Promise.all([runTask(), runRaw()]);
    // Under load too: what is measured is a system that has been at work, not the compiler of JavaScript.
    for (const run of [runRaw, runTask]) await throughput(WARM_UP_COUNT, IN_FLIGHT, run);
    for (let round = 0; round < scale.rounds; round++) {
      report(`tasks: round ${round + 1} of ${scale.rounds}, one at a time`);
      for (let i = 0; i < scale.latencySamples; i++) {
        samples.raw.push(await timeMs(runRaw));
        samples.task.push(await timeMs(runTask));
      }
      report(`tasks: round ${round + 1} of ${scale.rounds}, ${IN_FLIGHT} in flight`);
      rates.raw.push(await throughput(scale.throughputCount, IN_FLIGHT, runRaw));
      rates.task.push(await throughput(scale.throughputCount, IN_FLIGHT, runTask));
    }
  } finally {
    ends.close();
    await connection.close();
  }
  return {
    task: { latencyMs: figuresOf(samples.task), perSecond: figuresOf(rates.task).p50 },
    raw: { latencyMs: figuresOf(samples.raw), perSecond: figuresOf(rates.raw).p50 },
  };
}

/** Hear of ended tasks by the event stream, as a client would. */
async function followEnds(
  installation: Installation,
): Promise<{ wait(taskId: string): Promise<void>; close(): void }> {
  const abort = new AbortController();
  const reply = await fetch(`${installation.url}/v1/events`, {
    headers: { authorization: `Bearer ${installation.token}`, accept: 'text/event-stream' },
    signal: abort.signal,
  });
  if (!reply.ok || reply.body === null) throw new Error(`/v1/events answered ${reply.status}`);
  const ended = new Set<string>();
  const waiting = new Map<string, () => void>();
  const read = async (body: ReadableStream<Uint8Array>): Promise<void> => {
    let rest = '';
    const decoder = new TextDecoder();
    for await (const part of body) {
      const frames = (rest + decoder.decode(part, { stream: true })).split('\n\n');
      rest = frames.pop() ?? '';
      for (const frame of frames) {
        const data = frame.split('\n').find((line) => line.startsWith('data:'));
        if (data === undefined) continue;
        const event = JSON.parse(data.slice(5)) as { type: string; taskId: string | null };
        if (event.taskId === null || !/^task\.(completed|failed|canceled|expired)$/.test(event.type))
          continue;
        ended.add(event.taskId);
        waiting.get(event.taskId)?.();
      }
    }
  };
  read(reply.body).catch((error: unknown) => {
    if (!abort.signal.aborted) throw error;
  });
  return {
    wait: (taskId) =>
      ended.has(taskId) ? Promise.resolve() : new Promise<void>((resolve) => waiting.set(taskId, resolve)),
    close: () => abort.abort(),
  };
}
