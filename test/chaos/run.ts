/** One task of one command, driven from words to its end as an operator would, with a kill at one point of its life. */

import type { StepView, TaskView } from '../../contracts/tasks.ts';
import { query } from '../../db/database.ts';
import type { TestCommand } from './effects.ts';
import type { Direction } from './gate.ts';
import type { Point } from './points.ts';
import type { Stage } from './stage.ts';
import type { Change } from './watch.ts';

export interface Run {
  stage: Stage;
  name: string;
  untilChange(table: Change['table'], state: string): Promise<unknown>;
  untilHeld(gate: keyof Stage['gates'], direction: Direction): Promise<unknown>;
  untilEffect(): Promise<unknown>;
  untilAgentSays(event: string): Promise<unknown>;
  untilAgentIsAway(): Promise<unknown>;
  /** Of the task's command, once there is one. */
  commandId(): string;
}

export interface RunResult {
  taskId: string;
  command: TestCommand;
}

let runs = 0;

/** Drive one task; `atPoint` runs when the point is reached. Resolves when the task has ended. */
export async function driveTask(
  stage: Stage,
  point: Point,
  atPoint: () => Promise<void>,
): Promise<RunResult> {
  const { installation, watch } = stage;
  runs += 1;
  const name = `run-${runs}`;
  const command = stage.effects.createWaiting();
  const goal = stage.model.plan(name, [command.script]);
  const seenBefore = watch.changes.length;
  const isNew = (change: Change): boolean => watch.changes.indexOf(change) >= seenBefore;
  const until = (fits: () => boolean | Promise<boolean>, what: string) =>
    installation.until(
      async () => fits(),
      (value) => value,
      what,
    );
  const commandIds = (): string[] =>
    watch.changes.flatMap((change) =>
      change.table === 'commands' && change.commandId !== undefined && isNew(change)
        ? [change.commandId]
        : [],
    );

  const run: Run = {
    stage,
    name,
    untilChange: (table, state) =>
      watch.until(
        (change) => change.table === table && change.state === state && isNew(change),
        `${table} ${state}`,
      ),
    untilHeld: (gate, direction) =>
      until(() => stage.gates[gate].heldBytes(direction) > 0, `bytes held at ${gate}`),
    untilEffect: () => until(() => commandIds().some((id) => stage.effects.counts().has(id)), 'the effect'),
    untilAgentSays: (event) =>
      until(
        () =>
          stage.agent.lines.some(
            (line) => line.includes(`"${event}"`) && commandIds().some((id) => line.includes(id)),
          ),
        `the agent says ${event}`,
      ),
    commandId: () => commandIds()[0] ?? 'none',
    untilAgentIsAway: () =>
      until(async () => {
        const rows = await query<{ away: boolean }>(
          installation.db,
          'select bridge_id is null as away from agent_connections where agent_id = :id',
          { id: stage.agent.agentId },
        );
        return rows[0]?.away === true;
      }, 'the agent is away'),
  };

  // The point is reached on the side, while the operator's requests may still wait for an answer.
  await point.beforeCreate?.(run);
  const kill = point.reach(run).then(async () => {
    await atPoint();
    for (const gate of Object.values(stage.gates)) gate.release();
  });
  kill.catch(() => undefined); // awaited below, after what it makes fail
  try {
    const task = await installation.call<TaskView>('POST', '/v1/tasks', {
      goal,
      target: { agentId: stage.agent.agentId },
    });
    const step = await untilProposed(stage, task.id, 1);
    await point.beforeDecision?.(run);
    await installation.call('POST', `/v1/tasks/${task.id}/decide`, {
      decision: 'approve',
      step: 1,
      digest: step.digest,
    });
    if (point.killsWhileRunning) await kill;
    else if (point.beforeRelease !== undefined) {
      await run.untilChange('command_output', 'stored');
      await point.beforeRelease(run);
    }
    command.release();
    await kill;
    await untilEnded(stage, task.id);
    return { taskId: task.id, command };
  } catch (error) {
    await kill; // says more than a request that failed because of it
    throw error;
  }
}

/** The step, once it waits for a decision. */
export async function untilProposed(stage: Stage, taskId: string, stepNo: number): Promise<StepView> {
  const { installation } = stage;
  const { items } = await installation.until(
    () => installation.call<{ items: StepView[] }>('GET', `/v1/tasks/${taskId}/steps`),
    (page) => page.items.some((step) => step.step === stepNo && step.decision === null),
    `step ${stepNo} of task ${taskId} is proposed`,
    90_000,
  );
  const step = items.find((one) => one.step === stepNo);
  if (step === undefined) throw new Error(`no step ${stepNo}`);
  return step;
}

export const untilEnded = (stage: Stage, taskId: string): Promise<TaskView> =>
  stage.installation.until(
    () => stage.installation.call<TaskView>('GET', `/v1/tasks/${taskId}`),
    (task) => task.endedAt !== null,
    `the end of task ${taskId}`,
    120_000,
  );
