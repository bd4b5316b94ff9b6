/** Steps whose outcome is judged: attempts, verdicts, and what comes in between. */
import assert from 'node:assert/strict';
import type { ProposeOutcome, WorkflowSignal } from '../../contracts/workflow-io.ts';
import type { Scenario } from './scenarios.ts';
import { assertEnd, BATCH, batchFinished, ended, endsAtOnce, proposals, taskEnded } from './script-parts.ts';

const executed = (step: number): WorkflowSignal => ({
  name: 'decided',
  arg: { step, then: 'run', batchId: BATCH, judge: true },
});

/** Answers of `judgeStep`, one after the other. */
function judgements(...outcomes: ProposeOutcome[]) {
  let asked = 0;
  return async (): Promise<ProposeOutcome> => outcomes[asked++] ?? ended('failed');
}

export const judgingScenarios: readonly Scenario[] = [
  {
    name: 'executed-and-judged',
    prepare: () => ({
      options: {
        mode: 'manual',
        script: { propose: proposals(() => ended('failed')), judgeStep: judgements(ended('completed')) },
      },
      async drive(play) {
        await play.signal(executed(1));
        await play.untilPhase('running');
        await play.signal(batchFinished());
        await assertEnd(play, 'completed', 1);
        assert.deepEqual(play.asked(), ['judgeStep']);
      },
    }),
  },
  {
    name: 'executed-failed-and-tried-again',
    prepare: () => ({
      options: {
        mode: 'manual',
        script: {
          propose: proposals(() => ended('failed')),
          judgeStep: judgements(
            { kind: 'judge', step: 1, afterMs: 1 },
            { kind: 'running', step: 1, batchId: 'batch-2', judge: true },
            { kind: 'judge', step: 1, afterMs: 0 },
            ended('failed'),
          ),
        },
      },
      async drive(play) {
        await play.signal(executed(1));
        await play.signal(batchFinished());
        await play.untilAsked('judgeStep', 2);
        await play.signal(batchFinished('batch-2'));
        await assertEnd(play, 'failed', 1);
        assert.deepEqual(play.asked(), ['judgeStep', 'judgeStep', 'judgeStep', 'judgeStep']);
      },
    }),
  },
  {
    name: 'judged-then-proposed-again',
    prepare: () => ({
      options: {
        mode: 'supervised',
        script: {
          // The decision was made before the workflow asked: the row says so, the signal comes late.
          propose: proposals(
            () => ({ kind: 'running', step: 1, batchId: BATCH, judge: true }),
            () => ended('completed'),
          ),
          judgeStep: judgements({ kind: 'again', step: 1 }),
        },
      },
      async drive(play) {
        await play.untilPhase('running');
        await play.signal(batchFinished());
        await assertEnd(play, 'completed', 2);
        assert.deepEqual(play.asked(), ['propose', 'judgeStep', 'propose']);
      },
    }),
  },
  {
    name: 'canceled-between-two-attempts',
    prepare: () => ({
      options: {
        mode: 'manual',
        script: {
          propose: proposals(() => ended('failed')),
          judgeStep: judgements({ kind: 'judge', step: 1, afterMs: 3_600_000 }),
          endTask: endsAtOnce,
        },
      },
      async drive(play) {
        await play.signal(executed(1));
        await play.signal(batchFinished());
        await play.untilAsked('judgeStep');
        await play.signal(taskEnded('canceled'));
        await assertEnd(play, 'canceled', 1);
      },
    }),
  },
];
