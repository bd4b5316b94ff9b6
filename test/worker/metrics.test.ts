import { afterEach, describe, expect, it } from 'vitest';
import { createWorkerMetrics, type MetricsServer, serveMetrics } from '../../worker/metrics.ts';

let server: MetricsServer | undefined;
afterEach(() => server?.close());

describe('the worker’s metrics', () => {
  it('show what the duties did and how far the queues are behind', async () => {
    const metrics = createWorkerMetrics();
    server = await serveMetrics(metrics, { host: '127.0.0.1', port: 0 });
    metrics.observer.held('sealer', true);
    metrics.observer.ran('sealer', { count: 3, durationMs: 1 });
    metrics.observer.ran('sealer', { count: 2, durationMs: 1 });
    metrics.observer.failed('reconciler', new Error('away'));
    metrics.report({ queue: 'outbox', rows: 7, oldestSeconds: 2.5 });
    const text = await (await fetch(`${server.url}/metrics`)).text();
    expect(text).toContain('steelthread_duty_held{duty="sealer"} 1');
    expect(text).toContain('steelthread_duty_done_total{duty="sealer"} 5');
    expect(text).toContain('steelthread_duty_failures_total{duty="reconciler"} 1');
    expect(text).toContain('steelthread_queue_rows{queue="outbox"} 7');
    expect(text).toContain('steelthread_queue_oldest_seconds{queue="outbox"} 2.5');
    expect((await fetch(`${server.url}/livez`)).status).toBe(200);
    expect((await fetch(`${server.url}/other`)).status).toBe(404);
  });
});
