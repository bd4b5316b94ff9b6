/** How other processes hear of a unit of work that has committed. */
import { channels } from '../contracts/events.ts';
import type { EventRow } from '../db/events.ts';
import type { Notifier } from '../db/notify.ts';
import type { OutboxRow } from '../db/outbox.ts';
import type { Announcer } from './deps.ts';

export interface AnnouncerDeps {
  notifier: Pick<Notifier, 'notify'>;
  /** Delivers outbox rows to Temporal and resolves with how many it delivered; never rejects. */
  dispatcher: { deliver(rows: readonly OutboxRow[]): Promise<number> };
}

/** The announcer of a process without sockets or clients of its own: everything goes out by NOTIFY. */
export function createAnnouncer({ notifier, dispatcher }: AnnouncerDeps): Announcer {
  return {
    events(rows) {
      notifier.notify(channels.events);
      announceBatches(notifier, rows);
    },
    agents: (agentIds) => notifier.notify(channels.agents, agentIds),
    output: (commandIds) => notifier.notify(channels.output, commandIds),
    outbox(rows) {
      // What could not be delivered is the drainer's.
      void dispatcher.deliver(rows).then((delivered) => {
        if (delivered < rows.length) notifier.notify(channels.outbox);
      });
    },
  };
}

/** Whoever attends a batch of a task (domain/tasks/attendance.ts) hears that it is in. */
export function announceBatches(notifier: AnnouncerDeps['notifier'], rows: readonly EventRow[]): void {
  const batchIds = rows.flatMap(({ type, batchId }) =>
    type === 'task.step_finished' && batchId !== null ? [batchId] : [],
  );
  if (batchIds.length > 0) notifier.notify(channels.batches, batchIds);
}
