import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';

/** Upper bounds in seconds: from an answer out of memory to a wait for a command. */
const HTTP_DURATION_BUCKETS_SECONDS = [0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60];

export interface Metrics {
  registry: Registry;
  httpDurationSeconds: Histogram<'method' | 'route' | 'status'>;
  /** Registers a value that is read at each scrape; a failing read leaves the metric out of that scrape. */
  registerGauge(name: string, help: string, read: () => number | Promise<number>): void;
  /** Registers a counter; add to it with `.inc()`. */
  registerCounter<Label extends string>(
    name: string,
    help: string,
    labels?: readonly Label[],
  ): Counter<Label>;
  /** Prometheus text of everything registered. */
  expose(): Promise<string>;
}

/** A registry of its own, so that several can live in one process (tests). */
export function createMetrics({ ofProcess = false }: { ofProcess?: boolean } = {}): Metrics {
  const registry = new Registry();
  if (ofProcess) collectDefaultMetrics({ register: registry });
  const httpDurationSeconds = new Histogram({
    name: 'steelthread_http_request_duration_seconds',
    help: 'Time from the request to the end of its answer',
    labelNames: ['method', 'route', 'status'],
    buckets: HTTP_DURATION_BUCKETS_SECONDS,
    registers: [registry],
  });
  return {
    registry,
    httpDurationSeconds,
    registerGauge: (name, help, read) => {
      const gauge: Gauge = new Gauge({
        name,
        help,
        registers: [registry],
        collect: async () => {
          try {
            gauge.set(await read());
          } catch {
            gauge.remove();
          }
        },
      });
    },
    registerCounter: (name, help, labels = []) => {
      return new Counter({ name, help, labelNames: [...labels], registers: [registry] });
    },
    expose: () => registry.metrics(),
  };
}
