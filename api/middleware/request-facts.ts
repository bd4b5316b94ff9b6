import { type AppMiddleware, clientAddress, requestIdOf, stripSecrets } from '../context.ts';
import { profileOf } from '../profiles.ts';

/** Fills in the state every later middleware relies on, and names the request to the client. */
export function requestFacts({ trustProxyHops }: { trustProxyHops: number }): AppMiddleware {
  return async (ctx, next) => {
    const requestId = requestIdOf(ctx.req.headers);
    Object.assign(ctx.state, {
      requestId,
      profile: profileOf(ctx.req),
      address: clientAddress(ctx.req, trustProxyHops),
      safePath: stripSecrets(ctx.originalUrl),
      ended: new Promise((resolve) => ctx.res.once('close', resolve)),
      route: null,
      principal: null,
      errorCode: null,
    } satisfies typeof ctx.state);
    ctx.set({ 'X-Request-Id': requestId, 'X-Correlation-ID': requestId });
    await next();
  };
}
