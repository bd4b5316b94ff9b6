/** `npm run demo` from words to a sealed result, in a folder whose right answer is known. */
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import type { Story } from '../../cli/demo/story.ts';
import { startSteelthread } from './steelthread-process.ts';

const DEMO_TIMEOUT_MS = 120_000;

let root = '';
let checkout = '';

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'demo-test-'));
  // Started by root, the database server runs as another user, who must get to its folder.
  chmodSync(root, 0o755);
  checkout = join(root, 'checkout');
  mkdirSync(join(checkout, 'src'), { recursive: true });
  // Seven files of 10, 20 … 70 lines: the five largest have 30 + 40 + 50 + 60 + 70 = 250.
  for (let n = 1; n <= 7; n += 1) {
    writeFileSync(join(checkout, 'src', `part-${n}.ts`), 'export const one = 1;\n'.repeat(10 * n));
  }
  execFileSync('git', ['init', '--quiet', checkout]);
});

afterEach(() => rmSync(root, { recursive: true, force: true }));

it(
  'runs a task of two steps in the current folder and leaves nothing behind',
  async () => {
    const temporary = join(root, 'tmp');
    mkdirSync(temporary);
    const demo = startSteelthread(['demo', '--json'], {
      cwd: checkout,
      env: { TMPDIR: temporary, STEELTHREAD_HOME: join(root, 'home') },
    });
    expect(await demo.end(DEMO_TIMEOUT_MS), demo.stderr).toBe(0);

    const { task, steps, timeline } = JSON.parse(demo.stdout) as Story;
    expect(task).toMatchObject({ state: 'completed', result: { success: true } });
    expect(task.result?.summary).toContain('250 lines');
    expect(task.seal).toMatch(/^[0-9a-f]{64}$/);
    expect(steps.length).toBeGreaterThanOrEqual(2);
    for (const step of steps) {
      expect(step).toMatchObject({ mock: true, decision: 'approve', decidedBy: { name: 'admin' } });
      expect(step.reason).toContain('[mock model]');
      expect(step.commands).toMatchObject([{ state: 'succeeded', exitCode: 0, digest: expect.any(String) }]);
    }
    expect(timeline.map((item) => item.type)).toEqual([
      'created',
      ...steps.flatMap(() => ['proposed', 'approve', 'started', 'succeeded']),
      'completed',
    ]);

    const story = demo.stderr;
    for (const words of [
      'Model: mock model',
      'approved by admin',
      '│',
      'Timeline',
      task.seal ?? '',
      'api stopped',
    ]) {
      expect(story).toContain(words);
    }
    expect(story).toMatch(/part-7\.ts/);
    expect(story).not.toContain('\u001b');
    expect(readdirSync(temporary).filter((name) => name.startsWith('steelthread-'))).toEqual([]);
  },
  DEMO_TIMEOUT_MS + 10_000,
);
