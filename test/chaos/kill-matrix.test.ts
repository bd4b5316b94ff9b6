/** Kill -9 of each process at each step of the life of a task and its command. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { CommandView } from '../../contracts/commands.ts';
import { findViolations, waitUntilQuiet } from './invariants.ts';
import { points, type Victim } from './points.ts';
import { driveTask } from './run.ts';
import { openStage, type Stage } from './stage.ts';

/** The agent last: its restart also resets the pause before it connects again. */
const victims: readonly Victim[] = ['worker', 'api', 'agent'];

let stage: Stage;
beforeAll(async () => {
  stage = await openStage();
});
afterAll(() => stage.close());
afterEach(async () => {
  for (const gate of Object.values(stage.gates)) gate.release();
  for (const part of stage.installation.parts) await part.start();
});

describe.each(points)('$name', (point) => {
  test.each(victims)('kill -9 of the %s', async (kind) => {
    const victim = stage[kind];
    const { taskId, command } = await driveTask(stage, point, async () => {
      await victim.kill();
      for (const gate of Object.values(stage.gates)) gate.release();
      for (const part of stage.installation.parts) await part.start();
    });

    await waitUntilQuiet(stage.installation, { taskId });
    expect(await findViolations(stage.installation, stage.effects, taskId)).toEqual([]);
    const task = await stage.installation.call<{ state: string }>('GET', `/v1/tasks/${taskId}`);
    expect(task.state).toBe('completed');
    const { items } = await stage.installation.call<{ items: CommandView[] }>(
      'GET',
      `/v1/commands?taskId=${taskId}`,
    );
    expect(items.map((item) => ({ state: item.state, reason: item.reason }))).toEqual([
      point.outcome?.[kind] === undefined
        ? { state: 'succeeded', reason: null }
        : { state: 'unknown', reason: 'agent_restarted' },
    ]);
    if (items[0]?.state === 'succeeded') {
      expect(items[0].stdout).toMatchObject({
        bytes: command.bytes,
        totalBytes: command.bytes,
        sha256: command.sha256,
        truncated: false,
      });
    }
  });
});

test('afterwards nothing is open and every promise holds for all of them together', async () => {
  await waitUntilQuiet(stage.installation);
  expect(await findViolations(stage.installation, stage.effects)).toEqual([]);
});
