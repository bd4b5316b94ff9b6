/** Propose, decide, run: the three modes. */
import assert from 'node:assert/strict';
import type { Scenario } from './scenarios.ts';
import {
  assertEnd,
  awaiting,
  BATCH,
  batchFinished,
  decided,
  ended,
  proposals,
  requested,
  running,
  setTo,
} from './script-parts.ts';
import { readDetails } from './scripted-worker.ts';

export const decisionScenarios: Scenario[] = [
  {
    name: 'approved-then-completed',
    prepare: () => ({
      options: {
        script: {
          propose: proposals(
            () => awaiting(1),
            () => ended('completed'),
          ),
        },
      },
      async drive(play) {
        await play.untilPhase('awaiting decision');
        await play.signal(decided(1, 'run', BATCH));
        await play.untilPhase('running');
        await play.signal(batchFinished());
        await assertEnd(play, 'completed', 2);
      },
    }),
  },
  {
    name: 'auto-one-step',
    prepare: () => ({
      options: {
        mode: 'auto',
        script: {
          propose: proposals(
            () => running(1),
            () => ended('completed'),
          ),
        },
      },
      async drive(play) {
        await play.untilPhase('running');
        await play.signal(batchFinished());
        await assertEnd(play, 'completed', 2);
        assert.deepEqual(play.asked(), ['propose', 'propose'], 'one step costs two activities');
      },
    }),
  },
  {
    name: 'auto-quick-steps-then-a-decision',
    prepare: () => ({
      options: {
        mode: 'auto',
        script: {
          // The activity went on by itself: from step 1 to 3, from 4 to 6.
          propose: async ({ step }) => (step === 1 ? awaiting(3) : { ...ended('completed'), step: 6 }),
        },
      },
      async drive(play) {
        await play.untilPhase('awaiting decision');
        assert.match(await readDetails(play.handle), /^step 3 /);
        await play.signal(decided(2, 'again')); // stale: that step is over
        await play.signal(decided(3, 'run', BATCH));
        await play.untilPhase('running');
        await play.signal(batchFinished());
        await assertEnd(play, 'completed', 6);
        const steps = play.calls.map(({ arg }) => (arg as { step: number }).step);
        assert.deepEqual(steps, [1, 4]);
      },
    }),
  },
  {
    name: 'rejected-then-proposed-again',
    prepare: () => ({
      options: {
        script: {
          propose: proposals(
            () => awaiting(1),
            () => awaiting(2),
            () => ended('failed'),
          ),
        },
      },
      async drive(play) {
        await play.untilAsked('propose');
        await play.signal(decided(1, 'again'));
        await play.untilAsked('propose', 2);
        await play.signal(decided(2, 'again'));
        await assertEnd(play, 'failed', 3);
      },
    }),
  },
  {
    name: 'manual-requested-held-executed',
    prepare: () => ({
      options: {
        mode: 'manual',
        script: {
          propose: proposals(
            () => awaiting(1),
            () => ended('completed'),
          ),
        },
      },
      async drive(play) {
        await play.untilPhase('held');
        assert.deepEqual(play.asked(), [], 'nothing is proposed before it is asked for');
        await play.signal(requested(1));
        await play.untilPhase('awaiting decision');
        await play.signal(decided(1, 'hold'));
        await play.untilPhase('held');
        await play.signal(decided(1, 'run', BATCH));
        await play.signal(decided(1, 'hold')); // a late duplicate takes nothing back
        await play.signal(batchFinished());
        await play.signal(requested(2));
        await assertEnd(play, 'completed', 2);
      },
    }),
  },
  {
    name: 'manual-set-to-supervised-goes-on-by-itself',
    prepare: () => ({
      options: {
        mode: 'manual',
        script: {
          propose: proposals(
            () => awaiting(1),
            () => awaiting(2),
            () => ended('completed'),
          ),
        },
      },
      async drive(play) {
        await play.untilPhase('held');
        await play.handle.signal('modeChanged', { mode: 'no mode' });
        assert.deepEqual(play.asked(), []);
        await play.signal(setTo('supervised'));
        await play.untilPhase('awaiting decision');
        await play.signal(setTo('supervised'));
        await play.signal(decided(1, 'run', BATCH));
        await play.signal(batchFinished());
        await play.untilAsked('propose', 2); // nobody asked for it
        await play.signal(decided(2, 'again'));
        await assertEnd(play, 'completed', 3);
      },
    }),
  },
  {
    name: 'manual-own-act-without-proposal',
    prepare: () => ({
      options: { mode: 'manual', script: { propose: proposals(() => ended('completed')) } },
      async drive(play) {
        await play.untilPhase('held');
        await play.signal(decided(1, 'run', BATCH));
        await play.signal(batchFinished());
        await play.signal(requested(2));
        await assertEnd(play, 'completed', 2);
        assert.deepEqual(play.asked(), ['propose']);
      },
    }),
  },
  {
    name: 'own-act-overtakes-an-open-proposal',
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
        await play.untilPhase('awaiting decision');
        await play.signal(decided(2, 'run', BATCH));
        await play.untilAsked('propose', 2);
        await play.signal(batchFinished());
        await assertEnd(play, 'completed', 3);
      },
    }),
  },
];
