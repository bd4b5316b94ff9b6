import type { System } from './system.ts';
import { deskOf } from './tasks.ts';

/** Delete schedules and wait until Temporal has none of them: the server is shared, and not left with some that fire. */
export async function forgetSchedules(
  system: System,
  ids: readonly string[],
  patienceMs: number,
): Promise<void> {
  for (const id of ids) await system.request('DELETE', `/v1/schedules/${id}`);
  await system.until(
    () => deskOf(system).sql('select id from schedules where synced_revision < revision'),
    (left) => left.length === 0,
    'Temporal has forgotten them',
    patienceMs,
  );
}
