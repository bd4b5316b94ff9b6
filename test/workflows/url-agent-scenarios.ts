/** What the workflows go through that ask agents at their address. Each is played by a test and recorded for the replay test. */
import { randomUUID } from 'node:crypto';
import { activityInfo } from '@temporalio/activity';
import type { Client, WorkflowHandle } from '@temporalio/client';
import { ApplicationFailure } from '@temporalio/common';
import { NativeConnection, Worker } from '@temporalio/worker';
import { loadConfig } from '../../config.ts';
import {
  delegationWorkflowId,
  deliverWorkflowId,
  type UrlAgentActivities,
} from '../../contracts/workflow-io.ts';
import { findWorkflowBundle } from '../../worker/bundle.ts';

/** Answers the n-th call of the workflow's activity, from 1; what `sendDelegation` answers is not looked at. */
type Script = (call: number) => { refused: string | null };

export interface UrlAgentScenario {
  name: string;
  type: 'deliver' | 'delegation';
  script: Script;
  /** Calls that are made, and what the workflow ends with. */
  expected: { calls: number; result: unknown };
}

const failFirst: Script = (call) => {
  if (call === 1) throw ApplicationFailure.retryable('internal error', 'internal_error');
  return { refused: null };
};

export const urlAgentScenarios: UrlAgentScenario[] = [
  {
    name: 'url-agent-asked',
    type: 'deliver',
    script: () => ({ refused: null }),
    expected: { calls: 1, result: { outcome: 'delivered' } },
  },
  {
    name: 'url-agent-not-asked',
    type: 'deliver',
    script: () => ({ refused: 'canceled' }),
    expected: { calls: 1, result: { outcome: 'refused' } },
  },
  {
    name: 'url-agent-asked-after-a-failure',
    type: 'deliver',
    script: failFirst,
    expected: { calls: 2, result: { outcome: 'delivered' } },
  },
  {
    name: 'delegation-sent',
    type: 'delegation',
    script: () => ({ refused: null }),
    expected: { calls: 1, result: undefined },
  },
  {
    name: 'delegation-sent-after-a-failure',
    type: 'delegation',
    script: failFirst,
    expected: { calls: 2, result: undefined },
  },
];

export interface UrlAgentWorker {
  play(
    scenario: Pick<UrlAgentScenario, 'type' | 'script'>,
  ): Promise<{ handle: WorkflowHandle; calls: unknown[] }>;
  close(): Promise<void>;
}

export async function startUrlAgentWorker(options: {
  client: Client;
  address: string;
  taskQueue: string;
}): Promise<UrlAgentWorker> {
  const { client, taskQueue } = options;
  const plays = new Map<string, { script: Script; calls: unknown[] }>();
  const cacheDir = loadConfig('cli').steelthreadCache;
  const { codePath } = await findWorkflowBundle({ cacheDir, log: { info: () => undefined } });
  const connection = await NativeConnection.connect({ address: options.address });
  const answer = (input: unknown): { refused: string | null } => {
    const play = plays.get(activityInfo().workflowExecution?.workflowId ?? '');
    if (play === undefined) throw new Error('a workflow without a script');
    play.calls.push(input);
    return play.script(play.calls.length);
  };
  const activities: UrlAgentActivities = {
    runOnUrlAgent: async (input) => answer(input),
    sendDelegation: async (input) => void answer(input),
  };
  const worker = await Worker.create({
    connection,
    namespace: client.options.namespace,
    taskQueue,
    workflowBundle: { codePath },
    activities,
  });
  const running = worker.run();
  return {
    async play({ type, script }) {
      const id = randomUUID();
      const workflowId = type === 'deliver' ? deliverWorkflowId(id) : delegationWorkflowId(id);
      const command = {
        commandId: id,
        digest: '0'.repeat(64),
        agentId: 'addressed',
        expiresAtMs: Date.now() + 3_600_000,
        timeoutMs: 30_000,
        byUrl: true,
      };
      const calls: unknown[] = [];
      plays.set(workflowId, { script, calls });
      const args = [type === 'deliver' ? command : { taskId: id }];
      const handle = await client.workflow.start(type, { workflowId, taskQueue, args });
      return { handle, calls };
    },
    async close() {
      worker.shutdown();
      await running;
      await connection.close();
    },
  };
}
