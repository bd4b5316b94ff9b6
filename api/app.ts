import { setMaxListeners } from 'node:events';
import Koa from 'koa';
import { type OpenApiInfo, openApiDocument } from '../contracts/openapi.ts';
import type { App, Log } from './context.ts';
import { documentationRoutes } from './docs-pages.ts';
import { errorFunnel } from './error-handler.ts';
import type { SessionWatch } from './events/session-watch.ts';
import type { Metrics } from './metrics.ts';
import { accessLog } from './middleware/access-log.ts';
import { compression } from './middleware/compression.ts';
import { exactCors } from './middleware/cors.ts';
import { devLog } from './middleware/dev-log.ts';
import { httpMetrics } from './middleware/http-metrics.ts';
import { refuseWhileShuttingDown } from './middleware/refuse-while-shutting-down.ts';
import { requestFacts } from './middleware/request-facts.ts';
import { securityHeaders } from './middleware/security-headers.ts';
import type { MountedRoute, RouteFrame } from './mount.ts';
import { createOpenStreams, type OpenStreams } from './open-streams.ts';
import { operationsRoutes } from './operations.ts';
import { type CountShared, createRateLimit } from './rate-limit.ts';
import type { Checks } from './readiness.ts';
import { anantaProbeRoutes, type HubChecks } from './routes/ananta/probes.ts';
import { profileRoutes } from './routes/profiles.ts';
import { steelHealthRoutes } from './routes/steel/health.ts';
import { routing } from './routing.ts';

export interface AppDeps extends Pick<RouteFrame, 'authenticate' | 'recheck' | 'can' | 'onDenied'> {
  /** The routes of all families; those of the service itself (probes, documentation, `/`) are added. */
  routes: readonly MountedRoute[];
  log: Log;
  /** Shared with the sockets that send the same; its own when absent. */
  streams?: OpenStreams;
  /** Ends streams whose credential has ended; none ends by itself when absent. */
  sessions?: SessionWatch;
  /** Counts login-like calls with the other API processes; this one alone when absent. */
  countShared?: CountShared;
  metrics: Metrics;
  /** Where requests, answers and errors are written as well; see `devLog`. */
  devLog?: Log;
  /** What readiness depends on: database, migrations, Temporal … */
  checks: Checks;
  /** What ananta's probes tell besides. */
  hubChecks?: HubChecks;
  /** Aborted when the server begins to stop. */
  shutdown: AbortSignal;
  options: AppOptions;
}

export interface AppOptions extends OpenApiInfo {
  /** Name of the server in answers that carry one. */
  name: string;
  corsOrigins: readonly string[];
  /** Proxies in front whose X-Forwarded-* headers are believed; 0 for none. */
  trustProxyHops: number;
  rateLimit: boolean;
  /** Default false; see `RouteFrame`. */
  checkReplies?: boolean;
}

/** The whole HTTP side: routes in a frame of middlewares, in the order in which a request passes them. */
export function createApp(deps: AppDeps): App {
  const { log, metrics, shutdown, options } = deps;
  const app: App = new Koa({ proxy: options.trustProxyHops > 0 });
  const frame = {
    ...deps,
    rateLimit: createRateLimit({ enabled: options.rateLimit, countShared: deps.countShared, log }),
    streams: deps.streams ?? createOpenStreams(),
    sessions: deps.sessions ?? unwatched,
    checkReplies: options.checkReplies ?? false,
  };

  // Every request under way listens to it; the warning at ten is meant for leaks.
  setMaxListeners(0, shutdown);

  app.use(requestFacts(options));
  app.use(accessLog({ log }));
  app.use(httpMetrics({ metrics }));
  app.use(errorFunnel({ log }));
  if (deps.devLog !== undefined) app.use(devLog({ log: deps.devLog }));
  app.use(securityHeaders());
  app.use(exactCors({ origins: options.corsOrigins }));
  app.use(compression());
  app.use(refuseWhileShuttingDown({ shutdown }));
  app.use(routing(frame, allRoutes(deps)));

  // Only what breaks after an answer has begun comes here: a client that went away, a body stream that failed.
  app.on('error', (err: unknown) => {
    // A client that leaves a stream is no news: the access log says `aborted`.
    if (!hasClientGone(err)) log.warn({ event: 'http_answer_broken', err });
  });
  return app;
}

/** For apps whose credentials never end. */
const unwatched: SessionWatch = { watch: (principal) => ({ principal, stop() {} }) };

function hasClientGone(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ERR_STREAM_PREMATURE_CLOSE';
}

/** Every route the app answers, each of them documented. */
export function allRoutes({
  routes,
  metrics,
  checks,
  hubChecks,
  shutdown,
  options,
}: AppDeps): MountedRoute[] {
  const all: MountedRoute[] = [
    ...routes,
    ...operationsRoutes({ metrics, checks, shutdown }),
    ...profileRoutes({ ...options, checks, hubChecks }),
    ...anantaProbeRoutes({ ...options, checks, hubChecks, metrics, shutdown }),
    ...steelHealthRoutes({ checks }),
    ...documentationRoutes({ getDocument: () => document }),
  ];
  const document = openApiDocument(
    all.map((route) => route.contract),
    options,
  );
  return all;
}
