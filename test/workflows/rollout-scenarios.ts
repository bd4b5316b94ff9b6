/** What a rollout workflow goes through, as scripts: the tests of the workflow and the histories of the replay test. */
import assert from 'node:assert/strict';
import type { WorkflowFailedError } from '@temporalio/client';
import type { RolloutOutcome } from '../../contracts/rollout-workflow.ts';
import type { RolloutEnd } from '../../contracts/rollouts.ts';
import type { WorkflowSignal } from '../../contracts/workflow-io.ts';
import type { RolloutPlay, RolloutScript } from './rollout-plays.ts';

export interface RolloutScenario {
  /** Also the name of the recorded history. */
  name: string;
  prepare(): { script: RolloutScript; drive(play: RolloutPlay): Promise<void> };
}

const FAR_MS = 3_600_000;
/** Three of these make a history that suggests to continue as new. */
const BIG_SIGNAL_BYTES = 1_500_000;

const running = (batchNo: number, batchIds = [`b${batchNo}`], rev = 0): RolloutOutcome => ({
  kind: 'running',
  ...{ batchIds, rev, batchNo, batchCount: 3 },
});
const waiting = (batchNo: number, what: 'pause' | 'approval', waitMs = FAR_MS): RolloutOutcome => ({
  kind: 'waiting',
  for: what,
  ...{ waitMs, rev: 0, batchNo, batchCount: 3 },
});
const ended = (end: RolloutEnd, batchNo = 3): RolloutOutcome => ({ kind: 'ended', end, batchNo });

const finished = (batchId: string): WorkflowSignal => ({ name: 'batchFinished', arg: { batchId } });
const changed = (rev: number): WorkflowSignal => ({ name: 'rolloutChanged', arg: { rev } });

async function assertEnd(play: RolloutPlay, end: RolloutEnd, batches: number): Promise<void> {
  assert.deepEqual(await play.handle.result(), { end, batches });
}

export const rolloutScenarios: readonly RolloutScenario[] = [
  {
    name: 'rollout-batch-after-batch',
    prepare: () => ({
      script: [() => running(1), () => running(2, ['b2', 'c2']), () => running(3), () => ended('completed')],
      async drive(play) {
        await play.untilDetails('batch 1 of 3: running');
        await play.signal(finished('b1'));
        await play.untilAdvanced(2);
        await play.untilDetails('batch 2 of 3: running');
        await play.signal(finished('b2'));
        await play.untilHeard();
        assert.equal(play.asked.length, 2, 'one of the two batches is still out');
        await play.signal(finished('c2'));
        await play.untilDetails('batch 3 of 3: running');
        await play.signal(finished('b3'));
        await assertEnd(play, 'completed', 3);
      },
    }),
  },
  {
    name: 'rollout-approved',
    prepare: () => ({
      script: [() => waiting(1, 'approval'), () => running(2), () => ended('completed')],
      async drive(play) {
        await play.untilDetails('batch 1 of 3: waiting for the approval');
        await play.signal(changed(1));
        await play.untilAdvanced(2);
        await play.signal(finished('b2'));
        await assertEnd(play, 'completed', 3);
      },
    }),
  },
  {
    name: 'rollout-pause-is-over',
    prepare: () => ({
      script: [() => waiting(1, 'pause', 1), () => running(2), () => ended('failed', 2)],
      async drive(play) {
        await play.untilAdvanced(2);
        await play.signal(finished('b2'));
        await assertEnd(play, 'failed', 2);
      },
    }),
  },
  {
    name: 'rollout-held-and-let-go-on',
    prepare: () => ({
      script: [
        () => running(1),
        () => ({ kind: 'paused', rev: 1, batchNo: 1, batchCount: 3 }),
        () => ({ kind: 'again', rev: 2, batchNo: 1, batchCount: 3 }),
        () => ended('completed'),
      ],
      async drive(play) {
        await play.untilAdvanced(1);
        await play.signal(changed(1));
        await play.untilDetails('batch 1 of 3: paused');
        await play.signal(changed(2));
        await assertEnd(play, 'completed', 3);
      },
    }),
  },
  {
    name: 'rollout-signals-come-early-late-and-broken',
    prepare: () => {
      let answer = (): void => undefined;
      const isAsked = new Promise<void>((resolve) => {
        answer = resolve;
      });
      return {
        script: [
          async () => {
            await isAsked;
            return running(1, ['b1'], 4);
          },
          () => running(2, ['b2'], 4),
          () => ended('completed', 2),
        ],
        async drive(play) {
          await play.untilAdvanced(1);
          for (const arg of [undefined, null, 'x', { batchId: 7 }, { rev: 'x' }]) {
            await play.handle.signal('batchFinished', arg);
            await play.handle.signal('rolloutChanged', arg);
          }
          await play.signal(finished('b1')); // before the answer that speaks of it
          await play.signal(changed(4)); // known to that answer already
          await play.untilHeard();
          answer();
          await play.untilDetails('batch 2 of 3: running');
          await play.signal(finished('b1'));
          await play.signal(changed(3));
          await play.untilHeard();
          assert.equal(play.asked.length, 2);
          await play.signal(finished('b2'));
          await assertEnd(play, 'completed', 2);
        },
      };
    },
  },
  {
    name: 'rollout-canceled-in-temporal',
    prepare: () => ({
      script: [() => running(1), () => running(1), () => ended('canceled', 1)],
      async drive(play) {
        await play.untilDetails('batch 1 of 3: running');
        await play.handle.cancel();
        await play.untilCanceled();
        await play.untilAdvanced(2);
        await play.signal(finished('b1'));
        await assert.rejects(play.handle.result(), (error: WorkflowFailedError) => {
          assert.equal(error.cause?.name, 'CancelledFailure');
          return true;
        });
      },
    }),
  },
  {
    name: 'rollout-canceled-in-temporal-too-late',
    prepare: () => ({
      script: [() => running(1), () => ended('completed', 1)],
      async drive(play) {
        await play.untilDetails('batch 1 of 3: running');
        await play.handle.cancel();
        await assertEnd(play, 'completed', 1);
      },
    }),
  },
  {
    name: 'rollout-continues-as-new',
    prepare: () => ({
      script: [() => running(1), () => running(2), () => ended('completed', 2)],
      async drive(play) {
        await play.untilAdvanced(1);
        for (let i = 0; i < 3; i++) await play.signal(finished(String(i).repeat(BIG_SIGNAL_BYTES)));
        await play.untilHeard(); // what waits behind a workflow task is not counted yet
        const { runId } = await play.handle.describe();
        await play.signal(finished('b1'));
        await play.untilAdvanced(2);
        assert.notEqual((await play.handle.describe()).runId, runId, 'batch 2 is in another run');
        await play.signal(finished('b2'));
        await assertEnd(play, 'completed', 2);
      },
    }),
  },
];
