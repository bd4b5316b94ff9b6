/** Cancel, expiry and failure: from our side and from Temporal's. */
import assert from 'node:assert/strict';
import { ApplicationFailure } from '@temporalio/common';
import type { TaskActivities } from '../../contracts/workflow-io.ts';
import type { Scenario } from './scenarios.ts';
import {
  assertCanceled,
  assertEnd,
  awaiting,
  BIG_SIGNAL_BYTES,
  batchFinished,
  createGate,
  drainsFirst,
  ended,
  endsAsked,
  endsAtOnce,
  FAR_MS,
  knownDeadlines,
  movesFirst,
  proposals,
  running,
  taskEnded,
} from './script-parts.ts';

const overloaded = async () => {
  throw ApplicationFailure.create({ type: 'llm_overloaded', message: 'overloaded' });
};

export const cancelScenarios: Scenario[] = [
  {
    name: 'canceled-while-awaiting-a-decision',
    prepare: () => ({
      options: { script: { propose: proposals(() => awaiting(1)) } },
      async drive(play) {
        await play.untilPhase('awaiting decision');
        await play.signal(taskEnded('canceled'));
        await assertEnd(play, 'canceled', 1);
        assert.deepEqual(play.asked(), ['propose'], 'the row has ended already');
      },
    }),
  },
  {
    name: 'canceled-while-the-model-is-away',
    prepare: () => ({
      options: { script: { propose: overloaded } },
      async drive(play) {
        await play.untilAsked('propose');
        await play.signal(taskEnded('canceled'));
        await assertEnd(play, 'canceled', 1);
      },
    }),
  },
  {
    name: 'canceled-while-a-batch-is-out',
    prepare: () => ({
      options: { script: { propose: proposals(() => running(1)), endTask: drainsFirst() } },
      async drive(play) {
        await play.untilPhase('running');
        await play.signal(taskEnded(null));
        await play.untilAsked('endTask');
        await play.untilPhase('ending');
        await play.signal(batchFinished());
        await assertEnd(play, 'canceled', 1);
        assert.deepEqual(endsAsked(play), ['canceled: cancel_requested', 'canceled: cancel_requested']);
      },
    }),
  },
  {
    name: 'canceled-in-temporal-while-awaiting',
    prepare: () => ({
      options: { script: { propose: proposals(() => awaiting(1)), endTask: endsAtOnce } },
      async drive(play) {
        await play.untilPhase('awaiting decision');
        await play.handle.cancel();
        await assertCanceled(play);
        assert.deepEqual(endsAsked(play), ['canceled: canceled in Temporal']);
      },
    }),
  },
  {
    name: 'canceled-in-temporal-while-a-batch-is-out',
    prepare: () => ({
      options: { script: { propose: proposals(() => running(1)), endTask: drainsFirst() } },
      async drive(play) {
        await play.untilPhase('running');
        await play.handle.cancel();
        await play.untilAsked('endTask');
        await play.signal(batchFinished());
        await assertCanceled(play);
        assert.equal(endsAsked(play).length, 2);
      },
    }),
  },
  {
    name: 'canceled-in-temporal-too-late',
    prepare: () => ({
      options: {
        script: {
          propose: proposals(() => awaiting(1)),
          endTask: async () => ({ kind: 'ended', end: 'completed' }),
        },
      },
      async drive(play) {
        await play.untilPhase('awaiting decision');
        await play.handle.cancel();
        await assertEnd(play, 'completed', 1);
      },
    }),
  },
  {
    name: 'model-refuses',
    prepare: () => ({
      options: {
        script: {
          propose: async () => {
            throw ApplicationFailure.nonRetryable('the model refuses', 'llm_refused');
          },
          endTask: endsAtOnce,
        },
      },
      async drive(play) {
        await assertEnd(play, 'failed', 1);
        assert.deepEqual(play.asked(), ['propose', 'endTask']);
        assert.deepEqual(endsAsked(play), ['failed: llm_refused']);
      },
    }),
  },
  {
    name: 'model-fails-then-answers',
    prepare() {
      const answers = [overloaded, async () => ended('completed')];
      return {
        options: { script: { propose: () => (answers.shift() ?? overloaded)() } },
        async drive(play) {
          await assertEnd(play, 'completed', 1);
          assert.deepEqual(play.asked(), ['propose', 'propose']);
        },
      };
    },
  },
  {
    name: 'deadline-while-awaiting',
    prepare: () => ({
      options: {
        deadlineInMs: 500,
        script: { propose: proposals(() => awaiting(1)), endTask: endsAtOnce },
      },
      async drive(play) {
        await assertEnd(play, 'expired', 1);
        assert.deepEqual(endsAsked(play), ['expired: deadline']);
      },
    }),
  },
  {
    name: 'deadline-while-a-batch-is-out',
    prepare: () => ({
      options: {
        deadlineInMs: 500,
        script: { propose: proposals(() => running(1)), endTask: drainsFirst() },
      },
      async drive(play) {
        await play.untilAsked('endTask');
        await play.signal(batchFinished());
        await assertEnd(play, 'expired', 1);
        assert.equal(endsAsked(play).length, 2);
      },
    }),
  },
  {
    name: 'deadline-moved-while-on-hold',
    prepare: () => ({
      options: {
        mode: 'manual',
        deadlineInMs: 300,
        script: { propose: proposals(() => ended('failed')), endTask: movesFirst(300) },
      },
      async drive(play) {
        await assertEnd(play, 'expired', 1);
        assert.deepEqual(play.asked(), ['endTask', 'endTask']);
        const [first = 0, second = 0] = knownDeadlines(play);
        assert.ok(first > 0 && second > first, 'it says which deadline was over');
      },
    }),
  },
  {
    name: 'deadline-moved-while-a-batch-is-out',
    prepare: () => ({
      options: {
        deadlineInMs: 500,
        script: {
          propose: proposals(
            () => running(1),
            () => ended('completed'),
          ),
          endTask: movesFirst(FAR_MS),
        },
      },
      async drive(play) {
        await play.untilAsked('endTask');
        await play.untilPhase('running');
        await play.signal(batchFinished());
        await assertEnd(play, 'completed', 2);
        // On a slow machine the deadline may be over before the first proposal.
        assert.deepEqual(play.asked().slice(-3), ['endTask', 'propose', 'propose']);
      },
    }),
  },
  {
    name: 'on-hold-it-continues-as-new',
    prepare() {
      const heard = createGate();
      let asked = 0;
      const endTask: TaskActivities['endTask'] = async ({ end }) => {
        await heard.passed;
        asked += 1;
        return asked === 1 ? { kind: 'open', deadlineAtMs: Date.now() + 300 } : { kind: 'ended', end };
      };
      return {
        options: {
          mode: 'manual',
          deadlineInMs: 300,
          script: { propose: proposals(() => ended('failed')), endTask },
        },
        async drive(play) {
          await play.untilAsked('endTask');
          for (let i = 0; i < 3; i++) await play.signal(batchFinished(String(i).repeat(BIG_SIGNAL_BYTES)));
          await play.untilHeard();
          const { runId } = await play.handle.describe();
          heard.open();
          await assertEnd(play, 'expired', 1);
          assert.notEqual((await play.handle.describe()).runId, runId, 'its history does not grow for ever');
          assert.deepEqual(play.asked(), ['endTask', 'endTask']);
        },
      };
    },
  },
  {
    name: 'deadline-while-the-model-is-away',
    prepare: () => ({
      options: { deadlineInMs: 1_500, script: { propose: overloaded, endTask: endsAtOnce } },
      async drive(play) {
        await assertEnd(play, 'expired', 1);
        assert.deepEqual(endsAsked(play), ['expired: deadline']);
      },
    }),
  },
];
