import type { AppMiddleware } from '../context.ts';
import type { Metrics } from '../metrics.ts';

/** Measures each request under its route's template, so that ids do not become labels. */
export function httpMetrics({ metrics }: { metrics: Metrics }): AppMiddleware {
  return async (ctx, next) => {
    const startedAt = performance.now();
    void ctx.state.ended.then(() => {
      const labels = {
        method: ctx.state.route?.method ?? 'OTHER',
        route: ctx.state.route?.path ?? 'unknown',
        status: String(ctx.res.statusCode),
      };
      metrics.httpDurationSeconds.observe(labels, (performance.now() - startedAt) / 1000);
    });
    await next();
  };
}
