import { isProblem } from '../../contracts/errors.ts';
import type { AppMiddleware, Log } from '../context.ts';
import { asProblem } from '../errors/describe-error.ts';

/**
 * For development: a line when a request comes, a line when its answer has left, and each error with its stack. Never
 * bodies, and of the headers only the lengths of bodies.
 */
export function devLog({ log }: { log: Log }): AppMiddleware {
  return async (ctx, next) => {
    const { requestId, safePath: path, address } = ctx.state;
    const { method } = ctx;
    const startedAt = performance.now();
    log.info({ event: 'request', requestId, method, path, address, bodyBytes: ctx.request.length ?? null });
    void ctx.state.ended.then(() => {
      const { route, principal, errorCode } = ctx.state;
      log.info({
        event: 'response',
        requestId,
        method,
        path,
        route: route?.path ?? null,
        status: ctx.res.statusCode,
        durationMs: Math.round((performance.now() - startedAt) * 1000) / 1000,
        principalId: principal?.id ?? null,
        errorCode,
        aborted: !ctx.res.writableFinished,
      });
    });
    try {
      await next();
    } catch (thrown) {
      const { code, status } = asProblem(thrown);
      const level = status < 500 ? 'warn' : 'error';
      log[level]({ event: 'error', requestId, method, path, code, stack: stackOf(thrown) });
      throw thrown;
    }
  };
}

/**
 * Where it was thrown, with what caused it. Sentences that may quote the body are left out: those of our refusals and of
 * what caused them, of parsers, and of the database. Others are what a developer looks for.
 */
function stackOf(thrown: unknown, isOfRefusal = false): string[] {
  if (!(thrown instanceof Error)) return [typeof thrown];
  const isRefusal = isOfRefusal || (isProblem(thrown) && thrown.status < 500);
  const frames = (thrown.stack ?? '').split('\n').filter((line) => /^\s+at /.test(line));
  const cause = thrown.cause === undefined ? [] : ['caused by', ...stackOf(thrown.cause, isRefusal)];
  return [headOf(thrown, isRefusal), ...frames.map((line) => line.trim()), ...cause];
}

function headOf(error: Error, isOfRefusal: boolean): string {
  if (isProblem(error)) return error.code;
  if (isOfRefusal || error instanceof SyntaxError) return error.name;
  const sqlState = 'severity' in error && 'code' in error ? String(error.code) : undefined;
  return sqlState === undefined ? `${error.name}: ${error.message}` : `${error.name} ${sqlState}`;
}
