/** One client of the terminal log: its newest entries, then each as it comes. It has nothing to say. */

import { randomUUID } from 'node:crypto';
import type { WebSocket } from 'ws';
import { type TerminalFrame, terminalCloseCodes } from '../../contracts/terminals.ts';
import type { DomainDeps } from '../../domain/deps.ts';
import type { TerminalLogRow } from '../../domain/terminal/log.ts';
import { followTerminalLog, readTerminalLog, wireTerminalId } from '../../domain/terminal/log.ts';
import type { Hub } from '../events/hub.ts';
import type { Viewer } from '../events/session-watch.ts';
import { createLiveSocket } from '../live-socket.ts';

/** The log is looked at again this often: what is typed has no event of its own, milliseconds. */
const LOOK_EVERY_MS = 1_000;
/**
 * Ids are given out before commits: an entry may be there only so long after one with a higher id, milliseconds. Above the
 * longest that a statement runs.
 */
const LATE_MS = 20_000;

export interface LogReader {
  expel(): void;
}

export function createLogReader(
  deps: { domain: DomainDeps; hub: Pick<Hub, 'subscribe'>; shutdown: AbortSignal },
  ws: WebSocket,
  viewer: Pick<Viewer, 'principal'>,
): LogReader {
  const { domain, hub, shutdown } = deps;
  const live = createLiveSocket(ws, { shutdown, onFrame: () => undefined });
  const send = (frame: TerminalFrame): void => live.send(frame);
  /** All entries up to this one were told, or are not for this reader. */
  let floor = 0;
  /** Those above it that were told. */
  let told = new Set<number>();
  /** The newest that was told, by when, oldest first. */
  let newest: { id: number; atMs: number }[] = [];
  let isLooking = false;
  let again = false;

  const tell = (rows: readonly TerminalLogRow[]): void => {
    for (const { id, entry } of rows) {
      send({ type: 'output', data: { chunk: `${JSON.stringify(entry)}\n` } });
      told.add(id);
    }
    const last = rows.at(-1);
    if (last !== undefined) newest.push({ id: last.id, atMs: performance.now() });
  };
  const raiseFloor = (): void => {
    const before = performance.now() - LATE_MS;
    const late = newest.filter(({ atMs }) => atMs < before);
    if (late.length === 0) return;
    floor = Math.max(floor, ...late.map(({ id }) => id));
    newest = newest.slice(late.length);
    told = new Set([...told].filter((id) => id > floor));
  };
  const look = async (): Promise<void> => {
    if (isLooking) {
      again = true;
      return;
    }
    isLooking = true;
    try {
      do {
        again = false;
        raiseFloor();
        tell(await followTerminalLog(domain, viewer.principal, { after: floor, known: [...told] }));
        await live.drained();
      } while (again && !live.closed.aborted);
    } catch (err) {
      // While the database is away nothing happens that could be shown.
      domain.log.warn({ event: 'terminal_log_unread', err });
    } finally {
      isLooking = false;
    }
  };

  const start = async (): Promise<void> => {
    send({
      type: 'ready',
      data: { session_id: wireTerminalId(randomUUID()), mode: 'read', read_only: true },
    });
    const tail = await readTerminalLog(domain, viewer.principal);
    floor = (tail[0]?.id ?? 1) - 1;
    tell(tail);
    if (live.closed.aborted) return;
    const timer = setInterval(() => void look(), LOOK_EVERY_MS);
    const unsubscribe = hub.subscribe(({ row }) => {
      if (row.type === 'terminal.opened' || row.type === 'terminal.closed') void look();
    });
    const stop = (): void => {
      clearInterval(timer);
      unsubscribe();
    };
    live.closed.addEventListener('abort', stop, { once: true });
  };
  start().catch((err: unknown) => {
    domain.log.error({ event: 'terminal_log_failed', err });
    live.leave(terminalCloseCodes.internalError, 'internal error');
  });

  return { expel: () => live.leave(terminalCloseCodes.policy, 'the session has ended') };
}
