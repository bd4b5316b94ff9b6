import { v7 as newId } from 'uuid';
import { type AppMiddleware, clientAddress, stripSecrets } from '../context.ts';
import { profileOf } from '../profiles.ts';

/** What a client may choose as correlation id: nothing that could break a log line or a header. */
const safeRequestId = /^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$/;

/** Fills in the state every later middleware relies on, and names the request to the client. */
export function requestFacts({ trustProxyHops }: { trustProxyHops: number }): AppMiddleware {
  return async (ctx, next) => {
    const claimed = ctx.get('X-Request-Id') || ctx.get('X-Correlation-ID');
    const requestId = safeRequestId.test(claimed) ? claimed : newId();
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
