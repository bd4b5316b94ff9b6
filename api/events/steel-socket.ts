/**
 * One client of `/ws`: what it says is echoed with its name and the time, and it may follow the events of tasks and
 * commands. Nothing that it says is an order.
 */
import type { WebSocket } from 'ws';
import { isProblem } from '../../contracts/errors.ts';
import type { EventType } from '../../contracts/events.ts';
import {
  MAX_STEEL_FRAMES_IN_WINDOW,
  STEEL_FRAME_WINDOW_MS,
  type SteelServerFrame,
  type SteelTopic,
  steelCloseCodes,
  steelFrameErrors,
  steelSubscribeFrameSchema,
} from '../../contracts/families/steel/socket.ts';
import { steelTime } from '../../contracts/families/steel/time.ts';
import { canSeeEvent, presentEvent } from '../../domain/events/read.ts';
import type { Log } from '../context.ts';
import { createLiveSocket } from '../live-socket.ts';
import { parseStrictJson } from '../middleware/strict-json.ts';
import type { Hub } from './hub.ts';
import type { Viewer } from './session-watch.ts';
import { presentSteelEvent } from './steel-event.ts';

export interface SteelSocketDeps {
  hub: Pick<Hub, 'subscribe'>;
  log: Log;
  shutdown: AbortSignal;
}

export interface SteelSocket {
  /** Its session has ended. */
  expel(): void;
}

/** Takes over an accepted socket and greets it; it ends with the shutdown at the latest. */
export function createSteelSocket(
  { hub, log, shutdown }: SteelSocketDeps,
  ws: WebSocket,
  viewer: Pick<Viewer, 'principal'>,
): SteelSocket {
  const live = createLiveSocket(ws, {
    shutdown,
    onFrame(bytes, isBinary) {
      try {
        onFrame(bytes, isBinary);
      } catch (err) {
        log.error({ event: 'steel_socket_failed', err });
        live.leave(steelCloseCodes.internalError, 'internal error');
      }
    },
  });
  const isTooOften = createFrameCount();
  let topics: ReadonlySet<SteelTopic> = new Set();
  let unsubscribe: (() => void) | undefined;

  const send = (frame: SteelServerFrame): void => live.send(frame);
  const said = () => ({ timestamp: steelTime(new Date()), user: viewer.principal.name });

  function onFrame(bytes: Buffer, isBinary: boolean): void {
    if (isBinary) return live.leave(steelCloseCodes.internalError, 'no binary frames');
    if (isTooOften()) return live.leave(steelCloseCodes.policy, 'too many messages');
    const message = parseMessage(bytes.toString());
    if (message === undefined) return send({ type: 'error', message: steelFrameErrors.notJson });
    if (!isObject(message)) return send({ type: 'error', message: steelFrameErrors.notAnObject });
    if (message.type === 'subscribe' && 'topics' in message) return subscribe(message);
    send({ type: 'message', data: message, ...said() });
  }

  function subscribe(message: object): void {
    const { data } = steelSubscribeFrameSchema.safeParse(message);
    if (data === undefined) return send({ type: 'error', message: steelFrameErrors.unknownTopic });
    topics = new Set(data.topics);
    unsubscribe ??= hub.subscribe(({ row, cursor }) => {
      const topic = topicOf(row.type);
      if (topic === undefined || !topics.has(topic) || !canSeeEvent(viewer.principal, row)) return;
      send({ type: 'event', topic, data: presentSteelEvent(presentEvent(row, cursor)) });
    });
    send({ type: 'subscribed', topics: [...topics], ...said() });
  }

  live.closed.addEventListener('abort', () => unsubscribe?.(), { once: true });
  const { timestamp, user } = said();
  send({ type: 'connection', status: 'connected', user, timestamp });

  return { expel: () => live.leave(steelCloseCodes.policy, 'the session has ended') };
}

/** Undefined for what is no JSON, or JSON of a kind that is refused in bodies as well. */
function parseMessage(text: string): unknown {
  try {
    return parseStrictJson(text);
  } catch (error) {
    if (isProblem(error)) return undefined;
    throw error;
  }
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const topicsByPrefix: Readonly<Record<string, SteelTopic>> = {
  task: 'tasks',
  command: 'commands',
  batch: 'commands',
};

const topicOf = (type: EventType): SteelTopic | undefined => topicsByPrefix[type.split('.', 1)[0] ?? ''];

/** Counts a frame; true when there were too many in the window. */
function createFrameCount(): () => boolean {
  let count = 0;
  let endsAt = 0;
  return () => {
    const now = performance.now();
    if (now >= endsAt) {
      count = 0;
      endsAt = now + STEEL_FRAME_WINDOW_MS;
    }
    count += 1;
    return count > MAX_STEEL_FRAMES_IN_WINDOW;
  };
}
