/** The smallest workflow that delivers one command to an agent of delivery `temporal`. */
import { proxyActivities } from '@temporalio/workflow';
import type { RunCommandInput, RunCommandOutput } from '../../agent/transports/temporal.ts';

export async function deliverOne(agentTaskQueue: string, input: RunCommandInput): Promise<RunCommandOutput> {
  const { runCommand } = proxyActivities<{ runCommand(input: RunCommandInput): Promise<RunCommandOutput> }>({
    taskQueue: agentTaskQueue,
    startToCloseTimeout: '1 minute',
    heartbeatTimeout: '20 seconds',
    retry: { initialInterval: '100ms', backoffCoefficient: 1 },
  });
  return runCommand(input);
}
