/** The task workflow as somebody might break it: it looks for the batch before it asks for a proposal. */
import { proxyActivities } from '@temporalio/workflow';
import type { TaskActivities, TaskWorkflowInput, TaskWorkflowResult } from '../../contracts/workflow-io.ts';

const { propose, readBatch } = proxyActivities<TaskActivities>({ startToCloseTimeout: '30s' });

export async function task({ taskId, runNo }: TaskWorkflowInput): Promise<TaskWorkflowResult> {
  await readBatch('none');
  await propose({ taskId, runNo, step: 1 });
  return { end: 'completed', steps: 1 };
}
