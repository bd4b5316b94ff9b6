import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { NativeConnection, Worker } from '@temporalio/worker';
import { afterEach, expect, test } from 'vitest';
import { runFrame, shellAct, waitFor } from '../support/scripted-bridge.ts';
import { TEMPORAL_NAMESPACE, temporalAddress, uniqueTaskQueue, withTemporal } from '../support/temporal.ts';
import { createFixture, type Fixture, linesOf } from './agent-fixture.ts';

let fixture: Fixture;
afterEach(() => fixture.close());

test('delivery temporal: claimed over the socket, run once, completed after the ack; refused; retried without a socket', async () => {
  const agentTaskQueue = uniqueTaskQueue();
  const taskQueue = uniqueTaskQueue();
  const temporal = { address: temporalAddress(), namespace: TEMPORAL_NAMESPACE, taskQueue: agentTaskQueue };
  fixture = await createFixture({ welcome: () => ({ temporal }), ackResults: false });
  const effect = join(fixture.directory, 'effect');
  const agent = fixture.agent({ delivery: 'temporal' });
  const session = await fixture.bridge.session();
  expect(session.hello.delivery).toBe('temporal');

  const connection = await NativeConnection.connect({ address: temporalAddress() });
  const worker = await Worker.create({
    connection,
    namespace: TEMPORAL_NAMESPACE,
    taskQueue,
    workflowsPath: fileURLToPath(new URL('./temporal-workflows.ts', import.meta.url)),
  });
  try {
    await worker.runUntil(() =>
      withTemporal(async (client) => {
        const deliver = (input: { commandId: string; digest: string }) =>
          client.workflow.start('deliverOne', {
            taskQueue,
            workflowId: `deliver/${randomUUID()}`,
            args: [agentTaskQueue, input],
          });

        const frame = runFrame(shellAct(`echo x >> ${effect}`));
        const first = await deliver(frame);
        expect(await session.frame('claim', frame.commandId)).toMatchObject({ digest: frame.digest });
        session.send(frame);
        expect((await session.frame('result', frame.commandId)).outcome).toBe('succeeded');
        // Not acked yet: the activity must still be out.
        expect((await first.describe()).status.name).toBe('RUNNING');
        session.send({ type: 'resultAck', commandId: frame.commandId });
        expect(await first.result()).toEqual({ refused: null });

        // A second delivery of a known command waits for nothing and starts nothing.
        expect(await (await deliver(frame)).result()).toEqual({ refused: null });
        expect(linesOf(effect)).toEqual(['x']);

        const canceled = runFrame(shellAct('true'));
        const second = await deliver(canceled);
        await session.frame('claim', canceled.commandId);
        session.send({
          type: 'claimRefused',
          commandId: canceled.commandId,
          state: 'canceled',
          reason: 'final',
        });
        expect(await second.result()).toEqual({ refused: 'canceled' });

        // The socket ends between claim and run: the attempt fails, the next one claims again on the new socket.
        const retried = runFrame(shellAct(`echo y >> ${effect}`));
        const third = await deliver(retried);
        await session.frame('claim', retried.commandId);
        session.terminate();
        const next = await fixture.bridge.session(1);
        await next.frame('claim', retried.commandId);
        next.send(retried);
        await next.frame('result', retried.commandId);
        next.send({ type: 'resultAck', commandId: retried.commandId });
        expect(await third.result()).toEqual({ refused: null });
        expect(linesOf(effect)).toEqual(['x', 'y']);
      }),
    );
    await agent.close();
    await waitFor('the socket to close', () => fixture.bridge.sessions.every((s) => !s.isOpen()));
  } finally {
    await connection.close();
  }
}, 60_000);
