/** Timers, and signals that come early, twice, late or broken. */
import assert from 'node:assert/strict';
import type { ProposeOutcome, TaskActivities } from '../../contracts/workflow-io.ts';
import type { Scenario } from './scenarios.ts';
import {
  assertEnd,
  assigned,
  awaiting,
  BATCH,
  BIG_SIGNAL_BYTES,
  batchFinished,
  createGate,
  decided,
  ended,
  proposals,
  requested,
  running,
  waiting,
} from './script-parts.ts';

export const waitingScenarios: Scenario[] = [
  {
    name: 'approval-times-out',
    prepare: () => ({
      options: {
        script: { propose: proposals(() => awaiting(1, 300)), expireApproval: async () => ended('expired') },
      },
      async drive(play) {
        await assertEnd(play, 'expired', 1);
        assert.deepEqual(play.asked(), ['propose', 'expireApproval']);
      },
    }),
  },
  {
    name: 'decision-wins-against-the-approval-timer',
    prepare: () => ({
      options: {
        script: {
          propose: proposals(
            () => awaiting(1, 300),
            () => ended('completed'),
          ),
          expireApproval: async () => running(1),
        },
      },
      async drive(play) {
        await play.untilAsked('expireApproval');
        await play.signal(decided(1, 'run', BATCH)); // late: the row has said so already
        await play.signal(batchFinished());
        await assertEnd(play, 'completed', 2);
      },
    }),
  },
  {
    name: 'approval-timer-fires-before-the-row-expires',
    prepare() {
      const answers = [awaiting(1, 100), ended('expired')];
      const expireApproval = async () => answers.shift() ?? ended('failed');
      return {
        options: { script: { propose: proposals(() => awaiting(1, 100)), expireApproval } },
        async drive(play) {
          await assertEnd(play, 'expired', 1);
          assert.deepEqual(play.asked(), ['propose', 'expireApproval', 'expireApproval']);
        },
      };
    },
  },
  {
    name: 'waits-for-an-agent',
    prepare() {
      const answers = [waiting('no_agent', 50), running(1), ended('completed')];
      return {
        options: { script: { propose: async () => answers.shift() ?? ended('failed') } },
        async drive(play) {
          await play.untilPhase('waiting for an agent');
          await play.untilAsked('propose', 2);
          await play.signal(batchFinished());
          await assertEnd(play, 'completed', 2);
        },
      };
    },
  },
  {
    name: 'hears-of-an-agent',
    prepare() {
      const answers = [waiting('no_agent'), waiting('no_agent'), running(1), ended('completed')];
      return {
        options: { script: { propose: async () => answers.shift() ?? ended('failed') } },
        async drive(play) {
          await play.untilPhase('waiting for an agent');
          await play.signal(assigned('gone-again'));
          await play.untilAsked('propose', 2);
          await play.untilPhase('waiting for an agent');
          await play.signal(assigned());
          await play.untilAsked('propose', 3);
          await play.signal(batchFinished());
          await assertEnd(play, 'completed', 2);
        },
      };
    },
  },
  {
    name: 'hears-of-an-agent-while-it-looks',
    prepare() {
      const gate = createGate();
      const looks: (() => Promise<ProposeOutcome>)[] = [
        async () => {
          await gate.passed;
          return waiting('no_agent');
        },
        async () => running(1),
        async () => ended('completed'),
      ];
      return {
        options: { script: { propose: async () => looks.shift()?.() ?? ended('failed') } },
        async drive(play) {
          await play.untilAsked('propose');
          await play.signal(assigned());
          gate.open();
          await play.untilAsked('propose', 2);
          await play.signal(batchFinished());
          await assertEnd(play, 'completed', 2);
        },
      };
    },
  },
  {
    name: 'signals-come-early',
    prepare() {
      const gate = createGate();
      const propose: TaskActivities['propose'] = async ({ step }) => {
        if (step > 1) return ended('completed');
        await gate.passed;
        return awaiting(1);
      };
      return {
        options: { first: decided(1, 'run', BATCH), script: { propose } },
        async drive(play) {
          await play.untilAsked('propose');
          await play.signal(batchFinished());
          gate.open(); // both signals are in the history before the proposal
          await assertEnd(play, 'completed', 2);
          assert.deepEqual(play.asked(), ['propose', 'propose']);
        },
      };
    },
  },
  {
    name: 'signals-come-twice-late-and-broken',
    prepare: () => ({
      options: {
        script: {
          propose: proposals(
            () => awaiting(1),
            () => awaiting(2),
            () => ended('completed'),
          ),
        },
      },
      async drive(play) {
        const { handle } = play;
        await play.untilAsked('propose');
        for (const name of ['decided', 'batchFinished', 'proposeRequested', 'ended', 'unknown']) {
          await handle.signal(name);
          await handle.signal(name, 'not an object');
        }
        for (let i = 0; i < 2; i++) await play.signal(decided(1, 'run', BATCH));
        for (let i = 0; i < 3; i++) await play.signal(batchFinished());
        await play.untilAsked('propose', 2);
        await play.signal(decided(1, 'again')); // of the step before
        await play.signal(batchFinished());
        await play.untilPhase('awaiting decision');
        await play.signal(decided(2, 'again'));
        await assertEnd(play, 'completed', 3);
        assert.deepEqual(play.asked(), ['propose', 'propose', 'propose']);
      },
    }),
  },
  {
    name: 'continues-as-new-between-steps',
    prepare: () => ({
      options: {
        script: {
          propose: proposals(
            () => awaiting(1),
            () => running(2),
            () => ended('completed'),
          ),
        },
      },
      async drive(play) {
        await play.untilAsked('propose');
        for (let i = 0; i < 3; i++) await play.signal(batchFinished(String(i).repeat(BIG_SIGNAL_BYTES)));
        await play.untilHeard(); // what waits behind a workflow task is not counted yet
        const { runId } = await play.handle.describe();
        await play.signal(decided(1, 'again'));
        await play.untilAsked('propose', 2);
        assert.notEqual((await play.handle.describe()).runId, runId, 'step 2 is in another run');
        await play.signal(batchFinished());
        await assertEnd(play, 'completed', 3);
      },
    }),
  },
  {
    name: 'manual-continues-as-new-while-it-waits-for-an-agent',
    prepare() {
      const answers = [waiting('no_agent'), awaiting(1), ended('completed')];
      return {
        options: { mode: 'manual', script: { propose: async () => answers.shift() ?? ended('failed') } },
        async drive(play) {
          await play.signal(requested(1));
          await play.untilPhase('waiting for an agent');
          for (let i = 0; i < 3; i++) await play.signal(batchFinished(String(i).repeat(BIG_SIGNAL_BYTES)));
          await play.untilHeard();
          const { runId } = await play.handle.describe();
          await play.signal(assigned());
          await play.untilAsked('propose', 2);
          assert.notEqual((await play.handle.describe()).runId, runId, 'it asks again in another run');
          await play.signal(decided(1, 'again'));
          await play.signal(requested(2));
          await assertEnd(play, 'completed', 2);
          assert.deepEqual(play.asked(), ['propose', 'propose', 'propose']);
        },
      };
    },
  },
];
