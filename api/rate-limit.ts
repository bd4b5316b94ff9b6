import { isIPv6 } from 'node:net';
import { RateLimiterMemory, RateLimiterRes } from 'rate-limiter-flexible';
import { problem } from '../contracts/errors.ts';
import { type RateClassName, rateClasses } from '../contracts/rate-classes.ts';
import type { AppContext } from './context.ts';

/** Counts a call against its class; throws `rate_limited` when the window is used up. */
export type RateLimit = (ctx: AppContext, name: RateClassName) => Promise<void>;

/** Counts in this process: several API processes allow the sum of their limits. */
export function createRateLimit({ enabled }: { enabled: boolean }): RateLimit {
  if (!enabled) return async () => {};
  const limiters = new Map(
    Object.entries(rateClasses).map(([name, { calls, windowSeconds }]) => {
      return [name, new RateLimiterMemory({ keyPrefix: name, points: calls, duration: windowSeconds })];
    }),
  );
  return async (ctx, name) => {
    const limiter = limiters.get(name);
    if (name === 'unlimited' || limiter === undefined) return;
    try {
      tell(ctx, limiter.points, await limiter.consume(keyOf(ctx, rateClasses[name].by)));
    } catch (thrown) {
      if (!(thrown instanceof RateLimiterRes)) throw thrown;
      tell(ctx, limiter.points, thrown);
      const seconds = Math.max(1, Math.ceil(thrown.msBeforeNext / 1000));
      throw problem('rate_limited', { seconds }, { headers: { 'Retry-After': String(seconds) } });
    }
  };
}

/** `X-RateLimit-Reset` is the second (Unix time) in which the window ends. */
function tell(ctx: AppContext, limit: number, result: RateLimiterRes): void {
  ctx.set({
    'X-RateLimit-Limit': String(limit),
    'X-RateLimit-Remaining': String(result.remainingPoints),
    'X-RateLimit-Reset': String(Math.ceil((Date.now() + result.msBeforeNext) / 1000)),
  });
}

function keyOf(ctx: AppContext, by: 'principal' | 'address'): string {
  const { principal, address } = ctx.state;
  if (by === 'principal' && principal !== null) return `${principal.kind}:${principal.id}`;
  return `address:${networkOf(address)}`;
}

/** One IPv6 subscriber owns a /64, so the network is counted and not the address. */
function networkOf(address: string): string {
  if (!isIPv6(address) || address.startsWith('::ffff:')) return address;
  const [head = '', tail = ''] = address.split('::');
  const groups = head.split(':').filter((group) => group !== '');
  const missing = 8 - groups.length - tail.split(':').filter((group) => group !== '').length;
  const all = address.includes('::') ? [...groups, ...Array<string>(missing).fill('0')] : groups;
  return all.slice(0, 4).join(':');
}
