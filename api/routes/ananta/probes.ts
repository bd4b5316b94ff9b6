import { z } from 'zod';
import { onPaths } from '../../../contracts/families/ananta/paths.ts';
import {
  type AnantaHealthData,
  type AnantaReadyData,
  anantaHealthDataSchema,
  anantaReadyDataSchema,
} from '../../../contracts/families/ananta/system.ts';
import { anantaSuccess } from '../../../contracts/families/ananta.ts';
import { defineRoute, json, text } from '../../../contracts/route.ts';
import type { ModelHealth } from '../../../domain/stats/model-health.ts';
import type { Metrics } from '../../metrics.ts';
import { type MountedRoute, mount } from '../../mount.ts';
import { type Checks, runChecks } from '../../readiness.ts';
import { mountAll } from '../mount-all.ts';
import { success } from './envelope.ts';

const open = {
  family: 'ananta',
  tags: ['ananta system'],
  method: 'GET',
  auth: 'public',
  rateClass: 'unlimited',
} as const;

/** The same on every listener; `/health` is ananta's only on its own ones. */
const anantaSystemHealthRoute = defineRoute({
  ...open,
  path: '/api/system/health',
  summary: 'Tell the state of the hub and of what it needs',
  replies: { 200: anantaSuccess(anantaHealthDataSchema) },
});

const anantaReadyRoutes = onPaths(
  {
    ...open,
    path: '/ready',
    summary: 'Tell whether the hub can do its work',
    description:
      '`hub` is all of it; what it needs is named beside. `llm` tells how the last calls of the language model went and ' +
      'makes nothing unready: no call is made for it.',
    replies: {
      200: anantaSuccess(anantaReadyDataSchema),
      503: json(z.object({ status: z.literal('error'), data: anantaReadyDataSchema })),
    },
  },
  '/api/system/ready',
);

const anantaMetricsRoute = defineRoute({
  ...open,
  path: '/api/system/metrics',
  summary: 'Expose metrics for Prometheus, as `/metrics`',
  replies: { 200: text('text/plain; version=0.0.4; charset=utf-8') },
});

const anantaApiDocsRoute = defineRoute({
  ...open,
  path: '/apidocs',
  summary: 'Lead to the documentation',
  replies: { 302: text('text/plain; charset=utf-8', { headers: { Location: '`/docs`' } }) },
});

/** What ananta's probes tell besides the checks of readiness. A throw counts as `error`. */
export interface HubChecks {
  /** Is the agent of the server's own machine there? */
  isShellUp(): Promise<boolean>;
  /** Who answers for the language model, and how it did lately. */
  model(): Promise<{ provider: string; health: ModelHealth }>;
}

interface ProbeDeps {
  /** Name under which the hub answers. */
  name: string;
  checks: Checks;
  hubChecks?: HubChecks | undefined;
  metrics: Metrics;
  shutdown: AbortSignal;
}

/** Probes and documentation as ananta's clients find them, on every listener. */
export function anantaProbeRoutes(deps: ProbeDeps): MountedRoute[] {
  return [
    mount(anantaSystemHealthRoute, async () => ({ status: 200, body: success(await readHealth(deps)) })),
    ...mountAll(anantaReadyRoutes, async () => {
      const data = await readReady(deps);
      return data.ready
        ? { status: 200 as const, body: success(data) }
        : { status: 503 as const, body: { status: 'error' as const, data } };
    }),
    mount(anantaMetricsRoute, async () => ({ status: 200, body: await deps.metrics.expose() })),
    mount(anantaApiDocsRoute, async () => ({
      status: 302,
      headers: { Location: '/docs' },
      body: 'The documentation is at /docs\n',
    })),
  ];
}

/** What `GET /health` of ananta says: always 200, the state is inside. */
export async function readHealth({
  name,
  checks,
  hubChecks,
}: Pick<ProbeDeps, 'name' | 'checks' | 'hubChecks'>): Promise<AnantaHealthData> {
  const [own, shell, model] = await Promise.all([
    runChecks(checks),
    hubChecks && settle(hubChecks.isShellUp()),
    hubChecks && settle(hubChecks.model()),
  ]);
  return {
    agent: name,
    checks: {
      ...Object.fromEntries(
        Object.entries(own).map(([check, { ok }]) => [check, { status: ok ? 'ok' : 'down' } as const]),
      ),
      ...(shell && { shell: { status: shell.failed ? 'error' : shell.value ? 'ok' : 'down' } }),
      ...(model && { llm_providers: model.failed ? {} : { [model.value.provider]: model.value.health } }),
    },
  };
}

async function readReady({ checks, hubChecks, shutdown }: ProbeDeps): Promise<AnantaReadyData> {
  const startedAt = performance.now();
  const [own, model] = await Promise.all([runChecks(checks), hubChecks && settle(hubChecks.model())]);
  const ready = !shutdown.aborted && Object.values(own).every(({ ok }) => ok);
  const answers: AnantaReadyData['checks'] = {
    hub: {
      ...(ready
        ? { status: 'ok', code: 200 }
        : { status: 'error', code: 503, message: whyNot(own, shutdown) }),
      latency: secondsSince(startedAt),
    },
  };
  for (const [check, { ok, latencyMs, detail }] of Object.entries(own)) {
    answers[check] = {
      status: ok ? 'ok' : 'error',
      latency: latencyMs / 1_000,
      ...(!ok && detail !== undefined && { message: detail }),
    };
  }
  if (model !== undefined) {
    answers.llm = model.failed
      ? { status: 'error', message: 'the check failed' }
      : {
          status: model.value.health,
          provider: model.value.provider,
          latency: 0,
          code: codeOf(model.value.health),
        };
  }
  return { ready, checks: answers };
}

const codeOf = (health: ModelHealth): number => (health === 'unreachable' ? 503 : 200);

function whyNot(own: Awaited<ReturnType<typeof runChecks>>, shutdown: AbortSignal): string {
  if (shutdown.aborted) return 'the server is shutting down';
  const failed = Object.entries(own).flatMap(([check, { ok }]) => (ok ? [] : [check]));
  return `not available: ${failed.join(', ')}`;
}

const secondsSince = (startedAt: number): number => Math.round(performance.now() - startedAt) / 1_000;

/** Longest wait for a fact beside the checks, milliseconds: a probe answers while its target hangs. */
const FACT_TIMEOUT_MS = 2_000;

type Settled<T> = { failed: false; value: T } | { failed: true };

async function settle<T>(fact: Promise<T>): Promise<Settled<T>> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<Settled<T>>((resolve) => {
    timer = setTimeout(resolve, FACT_TIMEOUT_MS, { failed: true });
  });
  const asked = fact.then(
    (value): Settled<T> => ({ failed: false, value }),
    (): Settled<T> => ({ failed: true }),
  );
  const settled = await Promise.race([asked, late]);
  clearTimeout(timer);
  return settled;
}
