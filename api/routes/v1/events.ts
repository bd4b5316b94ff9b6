import { problem } from '../../../contracts/errors.ts';
import { type EventQuery, eventQuerySchema, streamEventsRoute } from '../../../contracts/event-routes.ts';
import type { EventStream } from '../../../contracts/route.ts';
import type { Actor, DomainDeps } from '../../../domain/deps.ts';
import { openEventFilter, openPosition } from '../../../domain/events/read.ts';
import { can } from '../../../domain/policy.ts';
import { createEventSocket, MAX_CLIENT_FRAME_BYTES } from '../../events/event-socket.ts';
import { type EventSink, feedEvents, type Subscription } from '../../events/feed.ts';
import type { Hub } from '../../events/hub.ts';
import { type MountedRoute, mount } from '../../mount.ts';
import { parameterLists } from '../../parse-request.ts';
import type { UpgradeRoute } from '../../upgrade.ts';
import { acceptUserSocket, identifyUpgrade, type UserSocketDeps } from '../../user-sockets.ts';
import { toValidationIssues } from '../../validation-issues.ts';

export type EventRouteDeps = DomainDeps & { hub: Hub };

/** `GET /v1/events` as server-sent events. */
export function eventRoutes(deps: EventRouteDeps): MountedRoute[] {
  return [
    mount(streamEventsRoute, async (request) => {
      const opened = await openSubscription(deps, request, request.query, request.lastEventId);
      return {
        status: 200,
        stream: (stream, viewer) => feedEvents(deps, { viewer, ...opened }, sinkOf(stream)),
      };
    }),
  ];
}

const sinkOf = (stream: EventStream): EventSink => ({
  ready: (cursor) => stream.send({ id: cursor, event: 'ready', data: { cursor } }),
  send: (event) => stream.send({ id: event.id, data: event }),
  drained: stream.drained,
  close: stream.close,
  closed: stream.closed,
});

export type EventUpgradeDeps = EventRouteDeps & UserSocketDeps & { shutdown: AbortSignal };

const right = { verb: 'list', resource: 'event' } as const;

/** The WebSocket of the same path. */
export function eventUpgradeRoute(deps: EventUpgradeDeps): UpgradeRoute {
  return {
    path: '/v1/events',
    maxFrameBytes: MAX_CLIENT_FRAME_BYTES,
    async handle(upgrade) {
      const principal = await identifyUpgrade(deps, upgrade);
      if (principal === null) {
        return upgrade.refuse('no good credential; a ticket opens one connection, within 60 seconds');
      }
      if (!can(principal, right.verb, right.resource)) {
        return upgrade.refuse('a token of a user who may list events is needed');
      }
      const actor = { principal, address: upgrade.address, requestId: upgrade.requestId };
      const lastEventId = upgrade.request.headers['last-event-id'];
      const opened = await openSubscription(
        deps,
        actor,
        parseQuery(upgrade.query),
        typeof lastEventId === 'string' && lastEventId !== '' ? lastEventId : null,
      );
      const { socket, viewer } = await acceptUserSocket(deps, upgrade, { principal, right }, (ws) =>
        createEventSocket(ws, deps.shutdown),
      );
      feedEvents(deps, { viewer, ...opened }, socket).catch((err: unknown) => {
        deps.log.error({ event: 'event_socket_failed', path: upgrade.safePath, err });
        socket.fail();
      });
    },
  };
}

/** @throws validation_failed */
function parseQuery(query: URLSearchParams): EventQuery {
  const given = parameterLists(query);
  const parsed = eventQuerySchema.safeParse(given);
  if (parsed.success) return parsed.data;
  const issues = toValidationIssues(parsed.error.issues, given, 'query');
  throw problem('validation_failed', {}, { issues });
}

/** @throws forbidden, task_not_found, invalid_cursor */
async function openSubscription(
  deps: EventRouteDeps,
  actor: Actor,
  query: EventQuery,
  lastEventId: string | null,
): Promise<Omit<Subscription, 'viewer'>> {
  const filter = await openEventFilter(deps, actor, query);
  const cursor = lastEventId ?? query.lastEventId ?? null;
  return { filter, resumeAt: cursor === null ? null : await openPosition(deps, cursor) };
}
