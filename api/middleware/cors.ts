import cors from '@koa/cors';
import type { AppMiddleware } from '../context.ts';

const PREFLIGHT_MAX_AGE_SECONDS = 600;

/** Cross-origin answers for exactly the listed origins; never `*`. */
export function exactCors({ origins }: { origins: readonly string[] }): AppMiddleware {
  const allowed = new Set(origins);
  return cors({
    origin: (ctx) => (allowed.has(ctx.get('Origin')) ? ctx.get('Origin') : ''),
    credentials: true,
    allowMethods: ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE'],
    exposeHeaders: [
      'ETag',
      'Link',
      'Location',
      'Retry-After',
      'X-Next-Cursor',
      'X-Request-Id',
      'X-Correlation-ID',
      'X-RateLimit-Limit',
      'X-RateLimit-Remaining',
      'X-RateLimit-Reset',
      'RateLimit',
      'RateLimit-Policy',
    ],
    maxAge: PREFLIGHT_MAX_AGE_SECONDS,
  });
}
