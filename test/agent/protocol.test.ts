import { expect, test } from 'vitest';
import { backoffDelayMs } from '../../agent/backoff.ts';
import { javascriptAgent } from './agent-fixture.ts';
import { protocolScenarios } from './protocol-scenarios.ts';

protocolScenarios(javascriptAgent);

test('full jitter spreads a fleet over the whole backoff', () => {
  const delays = Array.from({ length: 2_000 }, () => backoffDelayMs(6, 1001));
  const share = (from: number, to: number) =>
    delays.filter((d) => d >= from && d < to).length / delays.length;
  for (const quarter of [0, 1, 2, 3]) {
    expect(share(quarter * 7_500, (quarter + 1) * 7_500)).toBeGreaterThan(0.18);
  }
  expect(
    Math.max(...Array.from({ length: 100 }, () => backoffDelayMs(50, 'unreachable'))),
  ).toBeLessThanOrEqual(30_000);
  expect(Math.min(...Array.from({ length: 100 }, () => backoffDelayMs(0, 1008)))).toBeGreaterThanOrEqual(
    60_000,
  );
});
