/** The worker process. */
import { runService } from '../run-service.ts';
import { startWorkerService } from './service.ts';

await runService('worker', startWorkerService);
