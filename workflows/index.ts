/** Every workflow of the worker; the name of the export is the workflow type. */
export { delegation } from './delegation.ts';
export { deliver } from './deliver.ts';
export { rollout } from './rollout.ts';
export { scheduledRun } from './scheduled-run.ts';
export { task } from './task.ts';
export { webhookDelivery } from './webhook-delivery.ts';
