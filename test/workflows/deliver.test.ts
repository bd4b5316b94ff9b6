import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { Client } from '@temporalio/client';
import { ApplicationFailure } from '@temporalio/common';
import { DefaultLogger, NativeConnection, Runtime, Worker } from '@temporalio/worker';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { loadConfig } from '../../config.ts';
import { agentTaskQueue, type DeliverWorkflowInput, deliverWorkflowId } from '../../contracts/workflow-io.ts';
import { findWorkflowBundle } from '../../worker/bundle.ts';
import { connectTemporal, temporalAddress, uniqueTaskQueue } from '../support/temporal.ts';

const agentId = `agent-${randomUUID()}`;
const taskQueue = uniqueTaskQueue();
const answers: (() => Promise<{ refused: string | null }>)[] = [];
const asked: unknown[] = [];
const closers: (() => Promise<void>)[] = [];
let client: Client;

beforeAll(async () => {
  Runtime.install({ logger: new DefaultLogger('ERROR'), shutdownSignals: [] });
  const temporal = await connectTemporal();
  client = temporal.client;
  const cacheDir = loadConfig('cli').steelthreadCache;
  const { codePath } = await findWorkflowBundle({ cacheDir, log: { info: () => undefined } });
  const connection = await NativeConnection.connect({ address: temporalAddress() });
  const workflows = await Worker.create({
    connection,
    taskQueue,
    workflowBundle: { code: readFileSync(codePath, 'utf8') },
  });
  const agent = await Worker.create({
    connection,
    taskQueue: agentTaskQueue(agentId),
    activities: {
      async runCommand(input: unknown) {
        asked.push(input);
        return (answers.shift() ?? (async () => ({ refused: null })))();
      },
    },
  });
  const running = Promise.all([workflows.run(), agent.run()]);
  closers.push(async () => {
    workflows.shutdown();
    agent.shutdown();
    await running;
    await connection.close();
    await temporal.close();
  });
});

afterAll(async () => {
  for (const close of closers) await close();
});

async function deliver(given: Partial<DeliverWorkflowInput>): Promise<unknown> {
  const commandId = randomUUID();
  const input: DeliverWorkflowInput = {
    commandId,
    digest: 'd'.repeat(64),
    agentId,
    expiresAtMs: Date.now() + 60_000,
    timeoutMs: 1_000,
    ...given,
  };
  asked.length = 0;
  return client.workflow.execute('deliver', {
    workflowId: deliverWorkflowId(commandId),
    taskQueue,
    args: [input],
  });
}

it("asks the agent's own queue, again after a failure that may pass", async () => {
  answers.push(async () => {
    throw ApplicationFailure.retryable('no control socket', 'agent_not_connected');
  });
  expect(await deliver({})).toEqual({ outcome: 'delivered' });
  expect(asked).toHaveLength(2);
});

it('ends quietly when the agent refuses for good: the row decides', async () => {
  answers.push(async () => {
    throw ApplicationFailure.nonRetryable('not this digest', 'stale_digest');
  });
  expect(await deliver({})).toEqual({ outcome: 'undelivered' });
});

it('ends quietly when its time is over before it begins', async () => {
  expect(await deliver({ expiresAtMs: Date.now() - 120_000 })).toEqual({ outcome: 'undelivered' });
  expect(asked).toEqual([]);
});

it('ends quietly when it is canceled', async () => {
  const commandId = randomUUID();
  const handle = await client.workflow.start('deliver', {
    workflowId: deliverWorkflowId(commandId),
    taskQueue,
    args: [
      {
        commandId,
        digest: 'd'.repeat(64),
        agentId: 'nobody',
        expiresAtMs: Date.now() + 60_000,
        timeoutMs: 1_000,
      },
    ],
  });
  await handle.cancel();
  expect(await handle.result()).toEqual({ outcome: 'undelivered' });
});
