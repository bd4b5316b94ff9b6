import type { AppMiddleware, Log } from '../context.ts';

/** One line for each request once its answer has left or its client has gone; a stream counts until its end. */
export function accessLog({ log }: { log: Log }): AppMiddleware {
  return async (ctx, next) => {
    const startedAt = performance.now();
    void ctx.state.ended.then(() => {
      const { requestId, route, principal, address, safePath, errorCode } = ctx.state;
      // Probes come every few seconds and say nothing.
      const level = route?.rateClass === 'unlimited' ? 'debug' : 'info';
      log[level]({
        event: 'http_request',
        requestId,
        method: ctx.method,
        path: safePath,
        route: route?.path ?? null,
        status: ctx.res.statusCode,
        durationMs: Math.round(performance.now() - startedAt),
        family: route?.family ?? null,
        principalId: principal?.id ?? null,
        address,
        errorCode,
        aborted: !ctx.res.writableFinished,
      });
    });
    await next();
  };
}
