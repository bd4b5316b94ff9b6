/** The worker's numbers for Prometheus, and the small HTTP server that shows them (off unless WORKER_METRICS_LISTEN is set). */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Counter, collectDefaultMetrics, Gauge, Registry } from 'prom-client';
import type { DutyObserver } from './duties/duty.ts';
import type { QueueLag } from './duties/lag-report.ts';

export interface WorkerMetrics {
  observer: DutyObserver;
  report(lag: QueueLag): void;
  expose(): Promise<string>;
}

export function createWorkerMetrics(): WorkerMetrics {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  const registers = [registry];
  const held = new Gauge({
    name: 'steelthread_duty_held',
    help: '1 where this process holds the duty, else 0',
    labelNames: ['duty'],
    registers,
  });
  const lastRun = new Gauge({
    name: 'steelthread_duty_last_run_timestamp_seconds',
    help: 'When the duty last ran to its end here',
    labelNames: ['duty'],
    registers,
  });
  const done = new Counter({
    name: 'steelthread_duty_done_total',
    help: 'Things the duty did',
    labelNames: ['duty'],
    registers,
  });
  const failures = new Counter({
    name: 'steelthread_duty_failures_total',
    help: 'Runs of the duty that failed',
    labelNames: ['duty'],
    registers,
  });
  const rows = new Gauge({
    name: 'steelthread_queue_rows',
    help: 'Rows that wait in the queue',
    labelNames: ['queue'],
    registers,
  });
  const oldest = new Gauge({
    name: 'steelthread_queue_oldest_seconds',
    help: 'Age of the oldest row of the queue',
    labelNames: ['queue'],
    registers,
  });
  return {
    observer: {
      held: (duty, isHeld) => held.set({ duty }, isHeld ? 1 : 0),
      ran: (duty, { count }) => {
        lastRun.set({ duty }, Date.now() / 1000);
        done.inc({ duty }, count);
      },
      failed: (duty) => failures.inc({ duty }),
    },
    report: ({ queue, rows: waiting, oldestSeconds }) => {
      rows.set({ queue }, waiting);
      oldest.set({ queue }, oldestSeconds);
    },
    expose: () => registry.metrics(),
  };
}

export interface MetricsServer {
  /** Base URL. */
  url: string;
  close(): Promise<void>;
}

/** Serve `/metrics`, and `/livez` for health checks. @throws when the address cannot be had */
export async function serveMetrics(
  metrics: WorkerMetrics,
  { host, port }: { host: string; port: number },
): Promise<MetricsServer> {
  const server = createServer((request, response) => {
    if (request.url === '/livez') return void response.end('ok\n');
    if (request.url !== '/metrics') return void response.writeHead(404).end('not found\n');
    metrics.expose().then(
      (text) => response.setHeader('content-type', 'text/plain; version=0.0.4').end(text),
      () => response.writeHead(500).end(),
    );
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, resolve);
  });
  const address = server.address() as AddressInfo;
  return {
    url: `http://${host}:${address.port}`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
