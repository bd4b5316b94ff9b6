/** Open streams and sockets outlive the check at their start: their credentials are looked at again (promise P8). */
import type { Principal, Resource, Verb } from '../../contracts/principal.ts';
import type { Log } from '../../domain/deps.ts';
import { CREDENTIAL_RECHECK_MS } from '../../domain/identity/live-principals.ts';
import { can } from '../../domain/policy.ts';
import type { Hub } from './hub.ts';

/** Twice as often as promised, so that a slow answer of the database does not break the promise. */
const CHECK_INTERVAL_MS = CREDENTIAL_RECHECK_MS / 2;

/** Who holds a stream, with the rights of now. */
export interface Viewer {
  readonly principal: Principal;
  stop(): void;
}

/** What opening it took; it ends when that is no longer held. */
export interface Right {
  verb: Verb;
  resource: Resource;
}

export interface SessionWatch {
  /**
   * Watch until `stop`. `onGone` is called once: when the session or token has ended, its owner was disabled, or no
   * longer holds the right.
   */
  watch(principal: Principal, onGone: () => void, right?: Right): Viewer;
}

/** The credentials of now, in the order asked; null for one that has ended. */
export type Recheck = (principals: readonly Principal[]) => Promise<(Principal | null)[]>;

interface SessionWatchDeps {
  hub: Pick<Hub, 'subscribe'>;
  log: Log;
  recheck: Recheck;
}

interface Watched {
  principal: Principal;
  right: Right | undefined;
  onGone: () => void;
}

/** Events that say that a credential has ended somewhere; each only spares the wait for the next look. */
const endings = new Set(['session.revoked', 'token.rotated']);

/** One look for all that is watched: every few seconds, and at once when a session ends. Idle while nothing is watched. */
export function createSessionWatch({ hub, log, recheck }: SessionWatchDeps): SessionWatch {
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
      await checkOnce().catch((err: unknown) => log.warn({ event: 'session_check_failed', err }));
    }
    isChecking = false;
  };

  const checkOnce = async (): Promise<void> => {
    const asked = [...watched];
    const current = await recheck(asked.map(({ principal }) => principal));
    asked.forEach((viewer, at) => {
      const now = current[at] ?? null;
      if (now !== null) viewer.principal = now;
      if ((now === null || !mayStay(now, viewer.right)) && stop(viewer)) viewer.onGone();
    });
  };

  const start = (viewer: Watched): void => {
    watched.add(viewer);
    if (timer !== undefined) return;
    timer = setInterval(check, CHECK_INTERVAL_MS);
    unsubscribe = hub.subscribe(({ row }) => {
      if (endings.has(row.type)) check();
    });
  };

  /** True when it was watched until now. */
  const stop = (viewer: Watched): boolean => {
    const wasWatched = watched.delete(viewer);
    if (wasWatched && watched.size === 0) {
      clearInterval(timer);
      timer = undefined;
      unsubscribe();
    }
    return wasWatched;
  };

  return {
    watch(principal, onGone, right) {
      const viewer: Watched = { principal, right, onGone };
      start(viewer);
      return {
        get principal() {
          return viewer.principal;
        },
        stop: () => void stop(viewer),
      };
    },
  };
}

const mayStay = (principal: Principal, right: Right | undefined): boolean =>
  right === undefined || can(principal, right.verb, right.resource);
