import type { Client } from '@temporalio/client';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { connectTemporal, temporalAddress, uniqueTaskQueue } from '../support/temporal.ts';
import { scenarios } from './scenarios.ts';
import { awaiting, decided, ended, proposals } from './script-parts.ts';
import { readDetails, type ScriptedWorker, startScriptedWorker } from './scripted-worker.ts';

let client: Client;
let closeClient: () => Promise<void>;
let worker: ScriptedWorker;

beforeAll(async () => {
  const temporal = await connectTemporal();
  client = temporal.client;
  closeClient = temporal.close;
  worker = await startScriptedWorker({
    client,
    address: temporalAddress(),
    taskQueue: uniqueTaskQueue(),
  });
});

afterAll(async () => {
  await worker?.close();
  await closeClient?.();
});

describe('the task workflow', () => {
  it.each(scenarios.map((scenario) => [scenario.name, scenario] as const))('%s', async (_name, scenario) => {
    const { options, drive } = scenario.prepare();
    await drive(await worker.play(options));
  });

  it('shows title, step and phase in Temporal, and nothing else', async () => {
    const play = await worker.play({
      script: {
        propose: proposals(
          () => awaiting(1),
          () => ended('completed'),
        ),
      },
    });
    await play.untilPhase('awaiting decision');
    expect(await readDetails(play.handle)).toBe('step 1 of at most 25: awaiting decision');
    expect(await (await play.handle.describe()).staticSummary()).toBe('a task under test');
    await play.signal(decided(1, 'again'));
    await play.handle.result();
  });

  it('is taken up again where an operator reset it', async () => {
    const play = await worker.play({
      script: {
        propose: proposals(
          () => awaiting(1),
          () => ended('completed'),
        ),
      },
    });
    await play.untilPhase('awaiting decision');
    const { runId } = await play.handle.describe();
    await client.workflowService.resetWorkflowExecution({
      namespace: client.options.namespace,
      workflowExecution: { workflowId: play.handle.workflowId, runId },
      workflowTaskFinishEventId: 4 as never, // its type wants a Long; a number is encoded alike
      requestId: `reset-${runId}`,
      reason: 'a test',
    });
    await play.untilAsked('propose', 2);
    await play.signal(decided(1, 'again'));
    expect(await play.handle.result()).toEqual({ end: 'completed', steps: 2 });
  });
});
