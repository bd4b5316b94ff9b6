/** A worker that runs the real workflow of webhook deliveries with rounds that are scripted. */
import { randomUUID } from 'node:crypto';
import { activityInfo } from '@temporalio/activity';
import type { Client, WorkflowHandle } from '@temporalio/client';
import { NativeConnection, Worker } from '@temporalio/worker';
import { loadConfig } from '../../config.ts';
import {
  type DrainOutcome,
  type WebhookWorkflowInput,
  webhookWorkflowId,
} from '../../contracts/webhook-workflow.ts';
import { findWorkflowBundle } from '../../worker/bundle.ts';
import { until } from './scripted-worker.ts';

export interface WebhookPlay {
  handle: WorkflowHandle;
  /** What the rounds were asked with. */
  rounds: WebhookWorkflowInput[];
  untilRounds(count: number): Promise<void>;
  /** New deliveries. */
  ring(): Promise<void>;
}

/** What round `number` (from 1) leaves. */
export type RoundScript = (number: number) => DrainOutcome | Promise<DrainOutcome>;

export interface WebhookWorker {
  play(script: RoundScript): Promise<WebhookPlay>;
  close(): Promise<void>;
}

export async function startWebhookWorker(options: {
  client: Client;
  address: string;
  taskQueue: string;
}): Promise<WebhookWorker> {
  const { client, taskQueue } = options;
  const plays = new Map<string, { script: RoundScript; rounds: WebhookWorkflowInput[] }>();
  const cacheDir = loadConfig('cli').steelthreadCache;
  const { codePath } = await findWorkflowBundle({ cacheDir, log: { info: () => undefined } });
  const connection = await NativeConnection.connect({ address: options.address });
  const worker = await Worker.create({
    connection,
    namespace: client.options.namespace,
    taskQueue,
    workflowBundle: { codePath },
    activities: {
      async deliverWebhooks(input: WebhookWorkflowInput): Promise<DrainOutcome> {
        const play = plays.get(activityInfo().workflowExecution?.workflowId ?? '');
        if (play === undefined) throw new Error('a workflow without a script');
        play.rounds.push(input);
        return play.script(play.rounds.length);
      },
    },
  });
  const running = worker.run();
  return {
    async play(script) {
      const input = { targetId: randomUUID(), runNo: 1 };
      const workflowId = webhookWorkflowId(input.targetId, input.runNo);
      const rounds: WebhookWorkflowInput[] = [];
      plays.set(workflowId, { script, rounds });
      await client.workflow.start('webhookDelivery', { workflowId, taskQueue, args: [input] });
      const handle = client.workflow.getHandle(workflowId);
      return {
        handle,
        rounds,
        untilRounds: (count) => until(`${count} rounds`, async () => rounds.length >= count),
        ring: () => handle.signal('webhookDue', {}),
      };
    },
    async close() {
      worker.shutdown();
      await running;
      await connection.close();
    },
  };
}
