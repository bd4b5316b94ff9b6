import type { ErrorCode, SteelthreadError } from '../contracts/errors.ts';
import { familyOfPath } from '../contracts/families/family.ts';
import type { AppContext, AppMiddleware, Log } from './context.ts';
import { asProblem, describeError } from './errors/describe-error.ts';

/** The one place where a thrown error becomes an HTTP answer, in the dialect of the route or else of the path. */
export function errorFunnel({ log }: { log: Log }): AppMiddleware {
  return async (ctx, next) => {
    try {
      await next();
    } catch (thrown) {
      const error = asProblem(thrown);
      logFault(log, ctx, error);
      answerError(ctx, error);
    }
  };
}

/** 5xx because the server lacks it, but no fault: whoever runs it chose so, or it is going away in order. */
const chosenLacks: ReadonlySet<ErrorCode> = new Set([
  'shutdown_in_progress',
  'model_not_configured',
  'local_agent_unavailable',
  'terminal_unavailable',
]);

/** Writes the answer for an error. After the headers have left nothing can be said: the connection is cut. */
function answerError(ctx: AppContext, error: SteelthreadError): void {
  ctx.state.errorCode = error.code;
  if (ctx.headerSent) {
    ctx.res.destroy();
    return;
  }
  const route = ctx.state.route;
  const described = describeError(error, {
    family: route?.family ?? familyOfPath(ctx.path, ctx.state.profile),
    route,
    path: ctx.path,
    method: ctx.method,
    requestId: ctx.state.requestId,
    accept: ctx.get('Accept'),
  });
  ctx.status = described.status;
  ctx.set(described.headers);
  ctx.body = described.body;
  ctx.type = described.contentType;
}

/** Refusals are part of the work and stand in the access log; faults of ours are logged with their cause. */
function logFault(log: Log, ctx: AppContext, error: SteelthreadError): void {
  if (error.status < 500 || chosenLacks.has(error.code)) return;
  const { requestId } = ctx.state;
  log.error({ event: 'http_request_failed', requestId, code: error.code, err: error.cause ?? error });
}
