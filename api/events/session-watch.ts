/** Open streams and sockets outlive the check at their start: their sessions are looked at again (promise P8). */
import type { Principal } from '../../contracts/principal.ts';
import type { DomainDeps } from '../../domain/deps.ts';
import { findLivePrincipals, SESSION_RECHECK_MS } from '../../domain/identity/sessions.ts';
import type { Hub } from './hub.ts';

/** Twice as often as promised, so that a slow answer of the database does not break the promise. */
const CHECK_INTERVAL_MS = SESSION_RECHECK_MS / 2;

/** Who holds a stream, with the rights of now. */
export interface Viewer {
  readonly principal: Principal;
  stop(): void;
}

export interface SessionWatch {
  /** Watch until `stop`; `onGone` is called once, when the session has ended. A principal without one is not watched. */
  watch(principal: Principal, onGone: () => void): Viewer;
}

interface Watched {
  principal: Principal;
  onGone: () => void;
}

/** One query for all that is watched: every few seconds, and at once when a session ends. Idle while nothing is watched. */
export function createSessionWatch(deps: Pick<DomainDeps, 'db' | 'log'> & { hub: Hub }): SessionWatch {
  const watched = new Set<Watched>();
  let timer: NodeJS.Timeout | undefined;
  let unsubscribe = (): void => {};
  let isChecking = false;
  let again = false;

  const check = (): void => {
    again = true;
    if (!isChecking) void checkLoop();
  };

  const checkLoop = async (): Promise<void> => {
    isChecking = true;
    while (again) {
      again = false;
      // While the database is away nothing happens that could be shown: keep what is open.
      await checkOnce().catch((err: unknown) => deps.log.warn({ event: 'session_check_failed', err }));
    }
    isChecking = false;
  };

  const checkOnce = async (): Promise<void> => {
    const asked = [...watched];
    const ids = new Set(asked.flatMap(({ principal }) => principal.sessionId ?? []));
    const live = await findLivePrincipals(deps, [...ids]);
    for (const viewer of asked) {
      const now = live.get(viewer.principal.sessionId ?? '');
      if (now !== undefined) viewer.principal = now;
      else if (stop(viewer)) viewer.onGone();
    }
  };

  const start = (viewer: Watched): void => {
    watched.add(viewer);
    if (timer !== undefined) return;
    timer = setInterval(check, CHECK_INTERVAL_MS);
    unsubscribe = deps.hub.subscribe(({ row }) => {
      if (row.type === 'session.revoked') check();
    });
  };

  /** True when it was watched until now. */
  const stop = (viewer: Watched): boolean => {
    const wasWatched = watched.delete(viewer);
    if (watched.size === 0) {
      clearInterval(timer);
      timer = undefined;
      unsubscribe();
    }
    return wasWatched;
  };

  return {
    watch(principal, onGone) {
      const viewer: Watched = { principal, onGone };
      if (principal.sessionId !== null) start(viewer);
      return {
        get principal() {
          return viewer.principal;
        },
        stop: () => void stop(viewer),
      };
    },
  };
}
