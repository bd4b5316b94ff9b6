import Router from '@koa/router';
import { problem } from '../contracts/errors.ts';
import { familyOfPath, type Profile, profiles } from '../contracts/families/family.ts';
import type { RouteContract } from '../contracts/route.ts';
import type { AppContext, AppMiddleware, RequestState } from './context.ts';
import { type MountedRoute, type RouteFrame, routeMiddleware } from './mount.ts';

/**
 * Finds the route of a request. One table for each profile, since `/` and `/health` differ by listener.
 * Literal segments win over parameters whatever the order of registration; `/x/` is `/x`.
 */
export function routing(frame: RouteFrame, routes: readonly MountedRoute[]): AppMiddleware {
  const ordered = routes.toSorted((a, b) =>
    specificity(a.contract.path).localeCompare(specificity(b.contract.path)),
  );
  assertConsistent(ordered.map((route) => route.contract));
  const tables = new Map(profiles.map((profile) => [profile, tableOf(frame, ordered, profile)]));
  return async (ctx, next) => {
    const table = tables.get(ctx.state.profile);
    if (table === undefined) throw new Error(`no routes for the profile ${ctx.state.profile}`);
    await table.dispatch(ctx, next);
    if (ctx.state.route === null) answerUnrouted(ctx, table.router);
  };
}

interface Table {
  router: Router<RequestState>;
  dispatch: AppMiddleware;
}

function tableOf(frame: RouteFrame, routes: readonly MountedRoute[], profile: Profile): Table {
  const router = new Router<RequestState>({ sensitive: true, strict: false });
  const literal = new Map<string, AppMiddleware>();
  for (const route of routes) {
    const { contract } = route;
    if (contract.profile !== undefined && contract.profile !== profile) continue;
    const middleware = routeMiddleware(frame, route);
    router.register(koaPath(contract.path), [contract.method], middleware);
    if (!contract.path.includes('{')) literal.set(`${contract.method} ${contract.path}`, middleware);
  }
  // The router itself adds `params` to the context, which its type asks of the caller.
  const search = router.routes() as AppMiddleware;
  return {
    router,
    // A path without parameters wins over all others: it needs no walk through the patterns of every route.
    dispatch: (ctx, next) => (literal.get(`${ctx.method} ${ctx.path}`) ?? search)(ctx, next),
  };
}

/** Nothing took the request: the path is unknown (404), or known for other methods (OPTIONS 204, else 405). */
function answerUnrouted(ctx: AppContext, router: Router<RequestState>): void {
  const methods = new Set(router.match(ctx.path, ctx.method).path.flatMap((layer) => layer.methods));
  if (methods.size === 0) throw problem('not_found');
  const allow = [...methods, 'OPTIONS'].sort().join(', ');
  if (ctx.method !== 'OPTIONS') throw problem('method_not_allowed', {}, { headers: { Allow: allow } });
  ctx.set('Allow', allow);
  ctx.status = 204;
}

/** `/v1/tasks/{taskId}` as @koa/router writes it. */
function koaPath(path: string): string {
  return path.replaceAll(/\{(\w+)\}/g, ':$1');
}

/**
 * Sorts by this: two paths that take the same request have as many segments, and where they differ first, the
 * literal (0) comes before the parameter (1).
 */
function specificity(path: string): string {
  return path.replaceAll(/[^/]+/g, (segment) => (segment.includes('{') ? '1' : '0'));
}

/** Throws where two routes would take the same request, or a route speaks another dialect than its path. */
function assertConsistent(contracts: readonly RouteContract[]): void {
  const seen = new Set<string>();
  for (const { method, path, profile, family } of contracts) {
    const key = `${method} ${path.replaceAll(/\{\w+\}/g, '{}')} ${profile ?? ''}`;
    if (seen.has(key)) throw new Error(`two routes for ${key}`);
    seen.add(key);
    const spoken = familyOfPath(path, profile ?? 'steel');
    if (spoken !== family)
      throw new Error(`${method} ${path} is declared as ${family}, its path speaks ${spoken}`);
  }
}
