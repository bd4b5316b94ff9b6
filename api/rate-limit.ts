import { RateLimiterMemory, RateLimiterRes } from 'rate-limiter-flexible';
import { problem } from '../contracts/errors.ts';
import { countedClassOf, type RateClass, rateClasses } from '../contracts/rate-classes.ts';
import type { RouteContract } from '../contracts/route.ts';
import { networkOf } from '../domain/identity/network.ts';
import type { AppContext, Log } from './context.ts';

/** Counts a call against the class of its route; throws `rate_limited` when the window is used up. */
export type RateLimit = (
  ctx: AppContext,
  contract: Pick<RouteContract, 'family' | 'rateClass'>,
) => Promise<void>;

/** Where calls stand in their window. */
export interface CallCount {
  /** Calls of this window, this one included. */
  calls: number;
  msLeft: number;
}

/** Counts a call in a window that all API processes share. */
export type CountShared = (key: string, windowMs: number) => Promise<CallCount>;

interface RateLimitOptions {
  enabled: boolean;
  /** For the classes that are shared; without it every process counts for itself. */
  countShared?: CountShared | undefined;
  log: Log;
}

/**
 * Every class counts in this process first, so that a flood costs nothing else; what passes there is, in a shared
 * class, counted with the other processes as well.
 */
export function createRateLimit({ enabled, countShared, log }: RateLimitOptions): RateLimit {
  if (!enabled) return async () => {};
  const limiters = new Map(
    Object.entries(rateClasses).map(([name, { calls, windowSeconds }]) => {
      return [name, new RateLimiterMemory({ keyPrefix: name, points: calls, duration: windowSeconds })];
    }),
  );

  const countHere = async (name: string, key: string): Promise<CallCount> => {
    const limiter = limiters.get(name);
    if (limiter === undefined) throw new Error(`no rate class ${name}`);
    try {
      return toCallCount(await limiter.consume(key));
    } catch (thrown) {
      if (!(thrown instanceof RateLimiterRes)) throw thrown;
      return toCallCount(thrown);
    }
  };

  /** While the database is away, the count of this process stands alone. */
  const countEverywhere = async (name: string, key: string, rate: RateClass): Promise<CallCount> => {
    const here = await countHere(name, key);
    if (here.calls > rate.calls || rate.isShared !== true || countShared === undefined) return here;
    try {
      const all = await countShared(`${name}:${key}`, rate.windowSeconds * 1000);
      return all.calls > here.calls ? all : here;
    } catch (err) {
      log.warn({ event: 'rate_count_failed', rateClass: name, err });
      return here;
    }
  };

  return async (ctx, { family, rateClass }) => {
    const name = countedClassOf(family, rateClass, ctx.state.principal?.kind ?? null);
    if (name === undefined) return;
    const rate: RateClass = rateClasses[name];
    const count = await countEverywhere(name, keyOf(ctx, rate.by), rate);
    tell(ctx, name, rate, count);
    if (count.calls <= rate.calls) return;
    const seconds = secondsLeft(count);
    throw problem('rate_limited', { seconds }, { headers: { 'Retry-After': String(seconds) } });
  };
}

const toCallCount = ({ consumedPoints, msBeforeNext }: RateLimiterRes): CallCount => ({
  calls: consumedPoints,
  msLeft: msBeforeNext,
});

const secondsLeft = ({ msLeft }: CallCount): number => Math.max(1, Math.ceil(msLeft / 1000));

/**
 * `X-RateLimit-Reset` is the second (Unix time) in which the window ends. `RateLimit` and `RateLimit-Policy` are those
 * of draft-ietf-httpapi-ratelimit-headers: calls and seconds left, quota and window in seconds.
 */
function tell(ctx: AppContext, name: string, rate: RateClass, count: CallCount): void {
  const remaining = Math.max(0, rate.calls - count.calls);
  ctx.set({
    'X-RateLimit-Limit': String(rate.calls),
    'X-RateLimit-Remaining': String(remaining),
    'X-RateLimit-Reset': String(Math.ceil((Date.now() + count.msLeft) / 1000)),
    'RateLimit-Policy': `"${name}";q=${rate.calls};w=${rate.windowSeconds}`,
    RateLimit: `"${name}";r=${remaining};t=${secondsLeft(count)}`,
  });
}

function keyOf(ctx: AppContext, by: RateClass['by']): string {
  const { principal, address } = ctx.state;
  const network = `address:${networkOf(address)}`;
  if (by === 'address' || principal === null) return network;
  const holder = `${principal.kind}:${principal.id}`;
  // One token, many machines.
  return principal.kind === 'system' ? `${holder}@${network}` : holder;
}
