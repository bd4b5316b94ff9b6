import { z } from 'zod';
import { defineRoute, text } from '../contracts/route.ts';
import type { Metrics } from './metrics.ts';
import { type MountedRoute, mount } from './mount.ts';
import { type Checks, runChecks } from './readiness.ts';

const open = {
  family: 'house',
  method: 'GET',
  auth: 'public',
  rateClass: 'unlimited',
  tags: ['service'],
} as const;

const livez = defineRoute({
  ...open,
  path: '/livez',
  summary: 'Say that the process answers',
  replies: { 200: z.object({ status: z.literal('ok') }) },
});

const readinessSchema = z
  .object({
    ready: z.boolean(),
    checks: z.record(
      z.string(),
      z.object({ ok: z.boolean(), latencyMs: z.int(), detail: z.string().optional() }),
    ),
  })
  .meta({ id: 'Readiness' });

const readyz = defineRoute({
  ...open,
  path: '/readyz',
  summary: 'Tell whether the server can do its work, and what is missing',
  replies: { 200: readinessSchema, 503: readinessSchema },
});

const metricsText = defineRoute({
  ...open,
  path: '/metrics',
  summary: 'Expose metrics for Prometheus',
  replies: { 200: text('text/plain; version=0.0.4; charset=utf-8') },
});

interface OperationsDeps {
  metrics: Metrics;
  checks: Checks;
  shutdown: AbortSignal;
}

/** What orchestrators and monitoring ask. */
export function operationsRoutes({ metrics, checks, shutdown }: OperationsDeps): MountedRoute[] {
  return [
    mount(livez, async () => ({ status: 200, body: { status: 'ok' } })),
    mount(readyz, async () => {
      const results = await runChecks(checks);
      const ready = !shutdown.aborted && Object.values(results).every(({ ok }) => ok);
      return { status: ready ? 200 : 503, body: { ready, checks: results } };
    }),
    mount(metricsText, async () => ({ status: 200, body: await metrics.expose() })),
  ];
}
