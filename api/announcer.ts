import { channels } from '../contracts/events.ts';
import { type AnnouncerDeps, announceBatches, createAnnouncer } from '../domain/announcer.ts';
import type { Announcer } from '../domain/deps.ts';
import type { Hub } from './events/hub.ts';

export interface ApiAnnouncerDeps extends AnnouncerDeps {
  /** Identity of this process: its own notifications tell it nothing new. */
  processId: string;
  hub: Pick<Hub, 'offer' | 'offerOutput' | 'offerBatches'>;
  /** Look at the rows of agents connected here. */
  wakeAgents(agentIds: readonly string[]): void;
}

/** The announcer of the API: this process's clients and sockets hear at once, other processes by NOTIFY. */
export function createApiAnnouncer(deps: ApiAnnouncerDeps): Announcer {
  const { processId, hub, notifier } = deps;
  const others = createAnnouncer(deps);
  return {
    events(rows) {
      hub.offer(rows);
      notifier.notify(channels.events, [processId]);
      announceBatches(notifier, rows);
    },
    batches: (finished) => hub.offerBatches(finished),
    agents(agentIds) {
      deps.wakeAgents(agentIds);
      others.agents(agentIds);
    },
    output(commandIds) {
      hub.offerOutput(commandIds);
      others.output(commandIds);
    },
    outbox: others.outbox,
  };
}
