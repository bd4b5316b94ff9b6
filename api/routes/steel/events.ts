import { problem } from '../../../contracts/errors.ts';
import {
  isYes,
  MAX_TASK_EVENTS,
  STEEL_HEARTBEAT_MS,
  STEEL_HEARTBEAT_TEXT,
  type SteelEvent,
  type SteelPostedEvent,
  steelListTaskEventsRoute,
  steelPostEventRoute,
  steelStreamTaskEventsRoute,
  steelTailEventsRoute,
} from '../../../contracts/families/steel/events.ts';
import { steelTime } from '../../../contracts/families/steel/time.ts';
import type { EventStream } from '../../../contracts/route.ts';
import type { Actor, DomainDeps } from '../../../domain/deps.ts';
import { type PostedEntry, postEvent } from '../../../domain/events/posted.ts';
import {
  type EventFilter,
  type EventPosition,
  openEventFilter,
  openPosition,
  presentEvent,
  replayEvents,
} from '../../../domain/events/read.ts';
import { type EventSink, feedEvents } from '../../events/feed.ts';
import type { Hub } from '../../events/hub.ts';
import { followPostedEvents } from '../../events/posted-tail.ts';
import { presentSteelEvent } from '../../events/steel-event.ts';
import { type MountedRoute, mount } from '../../mount.ts';

type SteelEventDeps = DomainDeps & { hub: Hub };

/** The shared log and the events of tasks as clients of steel know them. */
export function steelEventRoutes(deps: SteelEventDeps): MountedRoute[] {
  const heartbeat = { keepAliveMs: STEEL_HEARTBEAT_MS, keepAliveText: STEEL_HEARTBEAT_TEXT };
  return [
    mount(steelPostEventRoute, async (request) => {
      const { event: name, target, details } = request.body;
      const log = await postEvent(deps, request, { name, target, details });
      return { status: 200, headers: { ETag: `"${log.sha256}"` }, body: { ok: true } };
    }),
    mount(steelTailEventsRoute, async (request) => {
      const { lastEventId, once } = request.query;
      const after = entryNumber(request.lastEventId ?? lastEventId);
      return {
        status: 200,
        ...heartbeat,
        stream: (stream, viewer) =>
          followPostedEvents(deps, { viewer, after, once: isYes(once) }, stream, presentPosted),
      };
    }),
    mount(steelListTaskEventsRoute, async (request) => {
      const filter = await filterOf(deps, request, request.query);
      return { status: 200, body: { events: await readTaskEvents(deps, request, filter) } };
    }),
    mount(steelStreamTaskEventsRoute, async (request) => {
      const filter = await filterOf(deps, request, request.query);
      const cursor = request.lastEventId ?? request.query.lastEventId;
      const resumeAt = cursor === undefined ? beginning : await openPosition(deps, cursor);
      return {
        status: 200,
        ...heartbeat,
        stream: (stream, viewer) => feedEvents(deps, { viewer, filter, resumeAt }, sinkOf(stream)),
      };
    }),
  ];
}

/** Before everything that is kept. */
const beginning: EventPosition = { xmin: 0n, id: 0 };

/** The number that a client gives back. @throws invalid_cursor */
function entryNumber(given: string | undefined): number {
  if (given === undefined) return 0;
  if (!/^\d{1,15}$/.test(given)) throw problem('invalid_cursor');
  return Number(given);
}

/** @throws forbidden, task_not_found */
function filterOf(
  deps: DomainDeps,
  actor: Actor,
  { task_id, run_id }: { task_id?: string | undefined; run_id?: string | undefined },
): Promise<EventFilter> {
  return openEventFilter(deps, actor, { taskId: task_id ?? run_id });
}

async function readTaskEvents(deps: DomainDeps, actor: Actor, filter: EventFilter): Promise<SteelEvent[]> {
  const events: SteelEvent[] = [];
  for await (const page of replayEvents(deps, actor.principal, filter, beginning)) {
    events.push(...page.map(({ row, cursor }) => presentSteelEvent(presentEvent(row, cursor))));
    if (events.length > MAX_TASK_EVENTS) events.splice(0, events.length - MAX_TASK_EVENTS);
  }
  return events;
}

/** The frames of this family carry their id inside. */
const sinkOf = (stream: EventStream): EventSink => ({
  ready: () => undefined,
  send: (event) => stream.send({ data: presentSteelEvent(event) }),
  drained: stream.drained,
  close: stream.close,
  closed: stream.closed,
});

const presentPosted = (row: PostedEntry): SteelPostedEvent => ({
  id: row.number,
  ts: steelTime(row.at),
  event: row.name,
  actor: row.posterName,
  target: row.target,
  details: row.details,
});
