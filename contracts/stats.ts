/** Figures of the hub, as they are stored. */
import { z } from 'zod';
import { taskStates } from './states.ts';

const countSchema = z.int().min(0);

export const statsFiguresSchema = z.object({
  agents: z.object({
    total: countSchema,
    online: countSchema,
    /** Of those that are connected: how many, and how many of these run something. */
    connected: countSchema,
    busy: countSchema,
  }),
  tasks: z.partialRecord(z.enum(taskStates), countSchema),
  resources: z.object({ cpuPercent: z.number(), ramBytes: countSchema }),
});
export type StatsFigures = z.infer<typeof statsFiguresSchema>;
