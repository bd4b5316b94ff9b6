/** Every workflow of the worker; the name of the export is the workflow type. */
export { deliver } from './deliver.ts';
export { task } from './task.ts';
