/** Each point of a task's life × each victim, as tests of the calling file. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { Delivery } from '../../contracts/agent-protocol.ts';
import type { CommandView } from '../../contracts/commands.ts';
import type { Part } from '../support/installation.ts';
import { findViolations, waitUntilQuiet } from './invariants.ts';
import type { Point, Victim } from './points.ts';
import { driveTask, type RunResult } from './run.ts';
import { openStage, type Stage } from './stage.ts';

export interface Matrix {
  points: readonly Point[];
  /** Best with the agent after the API: its restart also resets the pause before it connects again. */
  victims: readonly Victim[];
  delivery: Delivery;
}

export function testMatrix({ points, victims, delivery }: Matrix): void {
  let stage: Stage;
  beforeAll(async () => {
    stage = await openStage({ delivery });
  });
  afterAll(() => stage?.close());
  afterEach(() => restore(stage));

  describe.each(points)('$name', (point) => {
    test.each(victims)('kill -9 of the %s', async (victim) => {
      const result = await driveTask(stage, point, async () => {
        await Promise.all(partsOf(stage, victim).map((part) => part.kill()));
        await restore(stage);
      });
      await expectRight(stage, result, point.outcome?.[victim] ?? 'succeeded');
    });
  });

  test('afterwards nothing is open, and every promise holds for all of them together', async () => {
    await waitUntilQuiet(stage.installation);
    expect(await findViolations(stage.installation, stage.effects)).toEqual([]);
  });
}

const partsOf = (stage: Stage, victim: Victim): readonly Part[] =>
  victim === 'everything' ? stage.installation.parts : [stage[victim]];

/** All wires flow and all parts run. */
async function restore(stage: Stage): Promise<void> {
  for (const gate of Object.values(stage.gates)) gate.release();
  for (const part of stage.installation.parts) await part.start();
}

/** The task completed, its one command ended as it had to, and the promises hold for both. */
async function expectRight(stage: Stage, result: RunResult, outcome: 'succeeded' | 'unknown'): Promise<void> {
  const { installation, effects } = stage;
  const { taskId, command } = result;
  await waitUntilQuiet(installation, { taskId });
  expect(await findViolations(installation, effects, taskId)).toEqual([]);
  const task = await installation.call<{ state: string }>('GET', `/v1/tasks/${taskId}`);
  expect(task.state).toBe('completed');
  const path = `/v1/commands?taskId=${taskId}`;
  const { items } = await installation.call<{ items: CommandView[] }>('GET', path);
  expect(items.map((item) => ({ state: item.state, reason: item.reason }))).toEqual([
    outcome === 'succeeded'
      ? { state: 'succeeded', reason: null }
      : { state: 'unknown', reason: 'agent_restarted' },
  ]);
  if (outcome === 'unknown') return;
  expect(items[0]?.stdout).toMatchObject({
    bytes: command.bytes,
    totalBytes: command.bytes,
    sha256: command.sha256,
    truncated: false,
  });
}
