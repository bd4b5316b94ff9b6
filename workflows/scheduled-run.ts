import { proxyLocalActivities, workflowInfo } from '@temporalio/workflow';
import type { ScheduleActivities, ScheduledRunInput } from '../contracts/schedule-io.ts';

/** Only rows are written; far above the database's statement timeout. */
const BEGIN_TIMEOUT_MS = 30_000;

/** Local: one workflow task does it all, which counts when a thousand schedules are due in the same second. */
const { beginScheduledRun } = proxyLocalActivities<ScheduleActivities>({
  startToCloseTimeout: BEGIN_TIMEOUT_MS,
  retry: { initialInterval: '1s', backoffCoefficient: 2, maximumInterval: '60s' },
});

/**
 * A due time of a schedule: begins its run, and is over. The run goes on in rows and in the workflows of its tasks, so
 * nothing here waits for it.
 */
export async function scheduledRun({ scheduleId }: ScheduledRunInput): Promise<{ outcome: string }> {
  const { searchAttributes, startTime, firstExecutionRunId: runId } = workflowInfo();
  const [due] = searchAttributes.TemporalScheduledStartTime ?? [];
  const dueAtMs = (due instanceof Date ? due : startTime).getTime();
  return beginScheduledRun({ scheduleId, runId, dueAtMs });
}
