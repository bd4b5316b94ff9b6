/** A worker for the peers, tuned as ours is. Environment: TEMPORAL_ADDRESS, TEMPORAL_TASK_QUEUE. */
import { fileURLToPath } from 'node:url';
import { NativeConnection, Worker } from '@temporalio/worker';

const { TEMPORAL_ADDRESS: address, TEMPORAL_TASK_QUEUE: taskQueue } = process.env;
if (address === undefined || taskQueue === undefined)
  throw new Error('TEMPORAL_ADDRESS and TEMPORAL_TASK_QUEUE are needed');

const connection = await NativeConnection.connect({ address });
const worker = await Worker.create({
  connection,
  taskQueue,
  workflowsPath: fileURLToPath(new URL('./raw-workflows.ts', import.meta.url)),
  activities: { nothing: async () => {} },
  maxConcurrentWorkflowTaskExecutions: 20,
  maxConcurrentActivityTaskExecutions: 128,
  maxConcurrentWorkflowTaskPolls: 4,
  maxConcurrentActivityTaskPolls: 4,
  maxCachedWorkflows: 1_000,
});
process.on('SIGTERM', () => worker.shutdown());
const running = worker.run();
console.log('raw_worker_ready');
await running;
await connection.close();
