import { channels } from '../contracts/events.ts';
import type { Notifier } from '../db/notify.ts';
import type { Announcer } from '../domain/deps.ts';
import type { OutboxDispatcher } from '../temporal/dispatcher.ts';

/** The announcer of a process without sockets or clients of its own: everything goes out by NOTIFY. */
export function createAnnouncer({
  notifier,
  dispatcher,
}: {
  notifier: Pick<Notifier, 'notify'>;
  dispatcher: OutboxDispatcher;
}): Announcer {
  return {
    events: () => notifier.notify(channels.events),
    agents: (agentIds) => notifier.notify(channels.agents, agentIds),
    output: (commandIds) => notifier.notify(channels.output, commandIds),
    outbox(rows) {
      // `deliver` never rejects; what it could not deliver is the drainer's.
      void dispatcher.deliver(rows).then((delivered) => {
        if (delivered < rows.length) notifier.notify(channels.outbox);
      });
    },
  };
}
