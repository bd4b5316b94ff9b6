import { problem } from '../../contracts/errors.ts';
import type { AppMiddleware } from '../context.ts';

const RETRY_AFTER_SECONDS = 5;

/** Probes and metrics are answered to the end: whoever stops us wants to see it happen. */
const answeredToTheEnd = new Set(['/livez', '/readyz', '/metrics']);

/** Refuses new work once the server has begun to stop; what is under way goes on. */
export function refuseWhileShuttingDown({ shutdown }: { shutdown: AbortSignal }): AppMiddleware {
  return async (ctx, next) => {
    if (!shutdown.aborted) return next();
    ctx.set('Connection', 'close');
    if (answeredToTheEnd.has(ctx.path)) return next();
    throw problem('shutdown_in_progress', {}, { headers: { 'Retry-After': String(RETRY_AFTER_SECONDS) } });
  };
}
