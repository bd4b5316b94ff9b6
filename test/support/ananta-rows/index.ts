/** Every row of the ananta contract that answers in its envelope. */
import type { AnantaDesk } from '../ananta-desk.ts';
import { authRows } from './auth.ts';
import { hubRows } from './hubs.ts';
import { modelRows } from './models.ts';
import type { AnantaRow } from './row.ts';
import { systemRows } from './system.ts';
import { taskRows } from './tasks.ts';
import { autopilotRows, teamRows } from './teams.ts';

export const anantaRows = (desk: AnantaDesk): readonly AnantaRow[] => [
  ...systemRows,
  ...authRows(desk),
  ...taskRows(desk),
  // Before there is an active team that it could set going.
  ...autopilotRows,
  ...teamRows(desk),
  ...hubRows(desk),
  ...modelRows,
];
