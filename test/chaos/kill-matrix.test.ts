/** Kill -9 of each process, and of all of them, at each step of the life of a task and its command. */
import { testMatrix } from './matrix.ts';
import { points } from './points.ts';

testMatrix({ points, victims: ['worker', 'api', 'agent', 'everything'], delivery: 'websocket' });
