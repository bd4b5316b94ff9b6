import { channels } from '../contracts/events.ts';
import type { Notifier } from '../db/notify.ts';
import type { Announcer } from '../domain/deps.ts';
import type { OutboxDispatcher } from '../temporal/dispatcher.ts';
import type { Hub } from './events/hub.ts';

export interface AnnouncerDeps {
  /** Identity of this process: its own notifications tell it nothing new. */
  processId: string;
  hub: Pick<Hub, 'offer' | 'offerOutput'>;
  /** Look at the rows of agents connected here; set once the bridge exists. */
  wakeAgents(agentIds: readonly string[]): void;
  notifier: Pick<Notifier, 'notify'>;
  dispatcher: OutboxDispatcher;
}

/** The announcer of the API: this process's clients and sockets hear at once, other processes by NOTIFY. */
export function createApiAnnouncer(deps: AnnouncerDeps): Announcer {
  const { processId, hub, notifier, dispatcher } = deps;
  return {
    events(rows) {
      hub.offer(rows);
      notifier.notify(channels.events, [processId]);
    },
    agents(agentIds) {
      deps.wakeAgents(agentIds);
      notifier.notify(channels.agents, agentIds);
    },
    output(commandIds) {
      hub.offerOutput(commandIds);
      notifier.notify(channels.output, commandIds);
    },
    outbox(rows) {
      // `deliver` never rejects; what it could not deliver is the drainer's.
      void dispatcher.deliver(rows).then((delivered) => {
        if (delivered < rows.length) notifier.notify(channels.outbox);
      });
    },
  };
}
