import {
  type AnantaStatsEntry,
  anantaEventsRoutes,
  anantaStatsHistoryRoutes,
  anantaStatsRoutes,
} from '../../../contracts/families/ananta/system.ts';
import type { EventStream } from '../../../contracts/route.ts';
import { toAnantaStatus } from '../../../contracts/states.ts';
import type { DomainDeps } from '../../../domain/deps.ts';
import { openEventFilter, openPosition } from '../../../domain/events/read.ts';
import { listStatsHistory, type ReadResources, readStats } from '../../../domain/stats/stats.ts';
import { presentAnantaEvent } from '../../events/ananta-event.ts';
import { type EventSink, feedEvents } from '../../events/feed.ts';
import type { Hub } from '../../events/hub.ts';
import type { MountedRoute } from '../../mount.ts';
import { mountAll } from '../mount-all.ts';
import { success } from './envelope.ts';

type AnantaSystemDeps = DomainDeps & {
  hub: Hub;
  /** Name under which the hub answers. */
  serverName: string;
  readResources: ReadResources;
};

/** `/stats`, `/stats/history`, `/events`, and the same under `/api/system`. */
export function anantaSystemRoutes(deps: AnantaSystemDeps): MountedRoute[] {
  return [
    ...mountAll(anantaStatsRoutes, async (request) => {
      const stats = presentStats(new Date(), await readStats(deps, request));
      return { status: 200, body: success({ ...stats, agent_name: deps.serverName }) };
    }),
    ...mountAll(anantaStatsHistoryRoutes, async (request) => {
      const rows = await listStatsHistory(deps, request, request.query);
      return {
        status: 200,
        body: success(rows.reverse().map(({ at, figures }) => presentStats(at, figures))),
      };
    }),
    ...mountAll(anantaEventsRoutes, async (request) => {
      const filter = await openEventFilter(deps, request, {});
      const cursor = request.lastEventId ?? request.query.lastEventId;
      const resumeAt = cursor === undefined ? null : await openPosition(deps, cursor);
      return {
        status: 200,
        stream: (stream, viewer) => feedEvents(deps, { viewer, filter, resumeAt }, sinkOf(stream)),
      };
    }),
  ];
}

/** Frames are `data:` alone, as the family's clients read them; their id is inside. */
const sinkOf = (stream: EventStream): EventSink => ({
  ready: () => undefined,
  send: (event) => stream.send({ data: presentAnantaEvent(event) }),
  drained: stream.drained,
  close: stream.close,
  closed: stream.closed,
});

function presentStats(
  at: Date,
  { agents, tasks, resources }: Awaited<ReturnType<typeof readStats>>,
): AnantaStatsEntry {
  const byStatus = {
    total: 0,
    completed: 0,
    failed: 0,
    todo: 0,
    in_progress: 0,
  } as AnantaStatsEntry['tasks'];
  for (const [state, count] of Object.entries(tasks)) {
    // What was created and not touched since waits to be done; figures know no finer word for it.
    const word = state === 'created' ? 'todo' : toAnantaStatus(state as keyof typeof tasks);
    byStatus[word] = (byStatus[word] ?? 0) + count;
    byStatus.total += count;
  }
  return {
    agents: { total: agents.total, online: agents.online, offline: agents.total - agents.online },
    tasks: byStatus,
    shell_pool: { total: agents.connected, free: agents.connected - agents.busy, busy: agents.busy },
    resources: { cpu_percent: resources.cpuPercent, ram_bytes: resources.ramBytes },
    timestamp: at.getTime() / 1_000,
  };
}
