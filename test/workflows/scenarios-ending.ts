/** Cancel, expiry and failure: from our side and from Temporal's. */
import assert from 'node:assert/strict';
import { ApplicationFailure } from '@temporalio/common';
import type { Scenario } from './scenarios.ts';
import {
  assertCanceled,
  assertEnd,
  awaiting,
  batchFinished,
  drainsFirst,
  ended,
  endsAsked,
  endsAtOnce,
  FAR_MS,
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
      },
    }),
  },
  {
    name: 'deadline-moved-while-a-batch-is-out',
    prepare() {
      const answers = [running(1), running(1), ended('completed')];
      return {
        options: {
          deadlineInMs: 500,
          script: { propose: async () => answers.shift() ?? ended('failed'), endTask: movesFirst(FAR_MS) },
        },
        async drive(play) {
          await play.untilAsked('propose', 2);
          await play.signal(batchFinished());
          await assertEnd(play, 'completed', 2);
          assert.deepEqual(play.asked(), ['propose', 'endTask', 'propose', 'propose']);
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
