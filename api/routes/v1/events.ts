import { isProblem, problem } from '../../../contracts/errors.ts';
import { type EventQuery, eventQuerySchema, streamEventsRoute } from '../../../contracts/event-routes.ts';
import type { Principal } from '../../../contracts/principal.ts';
import type { EventStream } from '../../../contracts/route.ts';
import type { Actor, DomainDeps } from '../../../domain/deps.ts';
import { openEventFilter, openPosition } from '../../../domain/events/read.ts';
import { can } from '../../../domain/policy.ts';
import type { Authenticate } from '../../context.ts';
import { createEventSocket } from '../../events/event-socket.ts';
import { type EventSink, feedEvents, type Subscription } from '../../events/feed.ts';
import type { Hub } from '../../events/hub.ts';
import { createSessionWatch } from '../../events/session-watch.ts';
import { type MountedRoute, mount } from '../../mount.ts';
import type { OpenStreams } from '../../open-streams.ts';
import { parameterLists } from '../../parse-request.ts';
import type { Upgrade, UpgradeRoute } from '../../upgrade.ts';
import { toValidationIssues } from '../../validation-issues.ts';

export type EventRouteDeps = DomainDeps & { hub: Hub };

/** `GET /v1/events` as server-sent events. */
export function eventRoutes(deps: EventRouteDeps): MountedRoute[] {
  const sessions = createSessionWatch(deps);
  return [
    mount(streamEventsRoute, async (request) => {
      const opened = await openSubscription(deps, request, request.query, request.lastEventId);
      return {
        status: 200,
        stream: async (stream) => {
          const viewer = sessions.watch(request.principal, () => stream.close());
          try {
            await feedEvents(deps, { viewer, ...opened }, sinkOf(stream));
          } finally {
            viewer.stop();
          }
        },
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

export type EventUpgradeDeps = EventRouteDeps & {
  authenticate: Authenticate;
  shutdown: AbortSignal;
  /** Bounds the sockets of one principal; unbounded when absent. */
  streams?: OpenStreams;
};

/** The WebSocket of the same path. */
export function eventUpgradeRoute(deps: EventUpgradeDeps): UpgradeRoute {
  const sessions = createSessionWatch(deps);
  return {
    path: '/v1/events',
    async handle(upgrade) {
      const principal = await identify(deps, upgrade);
      if (principal === null || !can(principal, 'list', 'event')) {
        return upgrade.refuse('a token of a user who may list events is needed');
      }
      const actor = { principal, address: upgrade.address, requestId: null };
      const lastEventId = upgrade.request.headers['last-event-id'];
      const opened = await openSubscription(
        deps,
        actor,
        parseQuery(upgrade.query),
        typeof lastEventId === 'string' && lastEventId !== '' ? lastEventId : null,
      );
      const leave = deps.streams?.enter(principal);
      upgrade.request.socket.once('close', () => leave?.());
      const socket = createEventSocket(await upgrade.accept(), deps.shutdown);
      const viewer = sessions.watch(principal, () => socket.expel());
      feedEvents(deps, { viewer, ...opened }, socket)
        .catch((err: unknown) => {
          deps.log.error({ event: 'event_socket_failed', path: upgrade.safePath, err });
          socket.fail();
        })
        .finally(() => viewer.stop());
    },
  };
}

/** Null for nobody, and for a bad credential. */
async function identify({ authenticate }: EventUpgradeDeps, upgrade: Upgrade): Promise<Principal | null> {
  try {
    return await authenticate({ ...upgrade, headers: upgrade.request.headers });
  } catch (error) {
    if (isProblem(error)) return null;
    throw error;
  }
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
