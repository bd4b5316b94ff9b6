/** What every kind of agent must do: frames, output, connections, and its end. */
import { randomUUID } from 'node:crypto';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import type { AgentOptions } from '../../agent/agent.ts';
import { closeCodes, NO_DIGEST, OUTPUT_WINDOW_BYTES } from '../../contracts/agent-protocol.ts';
import {
  type BridgeOptions,
  type BridgeSession,
  runFrame,
  sha256,
  shellAct,
  waitFor,
} from '../support/scripted-bridge.ts';
import { type AgentProgram, type Fixture, linesOf } from './agent-fixture.ts';

export function protocolScenarios({ createFixture }: AgentProgram): void {
  let fixture: Fixture;
  afterEach(() => fixture.close());

  const begin = async (
    bridge: BridgeOptions = {},
    agent: Partial<AgentOptions> = {},
  ): Promise<BridgeSession> => {
    fixture = await createFixture(bridge);
    fixture.agent(agent);
    return fixture.bridge.session();
  };
  const effectFile = (): string => join(fixture.directory, 'effect');

  describe('run frames', () => {
    test('a duplicate never starts twice, before and after the result, and is answered', async () => {
      const session = await begin();
      const frame = runFrame(shellAct(`echo x >> ${effectFile()}; sleep 0.1`));
      for (let index = 0; index < 5; index += 1) session.send(frame);
      const result = await session.frame('result', frame.commandId);
      session.send(frame);
      await waitFor('a second result', () => session.framesOf('result', frame.commandId).length >= 2);
      expect(session.framesOf('result', frame.commandId).at(-1)).toEqual(result);
      expect(linesOf(effectFile())).toEqual(['x']);
    });

    test('a wrong digest is rejected and nothing runs', async () => {
      const session = await begin();
      const frame = runFrame(shellAct(`echo x >> ${effectFile()}`), { digest: 'a'.repeat(64) });
      session.send(frame);
      const result = await session.frame('result', frame.commandId);
      expect(result).toMatchObject({ outcome: 'rejected', reason: 'digest_mismatch', digest: frame.digest });
      expect(linesOf(effectFile())).toEqual([]);
    });

    test('a known id with another digest is refused', async () => {
      const session = await begin();
      const frame = runFrame(shellAct('true'));
      session.send(frame);
      await session.frame('result', frame.commandId);
      session.send(runFrame(shellAct(`echo x >> ${effectFile()}`), { commandId: frame.commandId }));
      expect(await session.frame('error')).toMatchObject({ code: 'digest_conflict' });
      expect(linesOf(effectFile())).toEqual([]);
    });

    test('a cancel before the run frame is a tombstone: the late run frame is answered canceled', async () => {
      const session = await begin();
      const frame = runFrame(shellAct(`echo x >> ${effectFile()}`));
      session.send({ type: 'cancel', commandId: frame.commandId, reason: 'too slow' });
      const tombstone = await session.frame('result', frame.commandId);
      expect(tombstone).toMatchObject({
        outcome: 'canceled',
        reason: 'too slow',
        digest: NO_DIGEST,
        startedAt: null,
      });
      session.send(frame);
      await waitFor('the answer', () => session.framesOf('result', frame.commandId).length >= 2);
      expect(session.framesOf('result', frame.commandId).at(-1)).toMatchObject({
        outcome: 'canceled',
        digest: frame.digest,
      });
      expect(linesOf(effectFile())).toEqual([]);
    });

    test('resume of an unknown id is answered notKnown and starts nothing', async () => {
      const session = await begin();
      const frame = runFrame(shellAct(`echo x >> ${effectFile()}`), { resume: true });
      session.send(frame);
      await session.frame('notKnown', frame.commandId);
      session.send({ ...frame, resume: false });
      expect((await session.frame('result', frame.commandId)).outcome).toBe('succeeded');
      expect(linesOf(effectFile())).toEqual(['x']);
    });

    test('expired: at arrival, and while it waits in the queue of the agent', async () => {
      const session = await begin({}, { maxParallel: 1 });
      const late = runFrame(shellAct(`echo x >> ${effectFile()}`), { startWithinMs: 0 });
      session.send(late);
      expect((await session.frame('result', late.commandId)).outcome).toBe('expired');
      const long = runFrame(shellAct(`while [ ! -e ${effectFile()}.go ]; do sleep 0.05; done`));
      const queued = runFrame(shellAct(`echo x >> ${effectFile()}`), { startWithinMs: 100 });
      session.send(long);
      session.send(queued);
      expect((await session.frame('result', queued.commandId)).outcome).toBe('expired');
      session.send({ type: 'cancel', commandId: long.commandId, reason: 'done' });
      expect((await session.frame('result', long.commandId)).outcome).toBe('canceled');
      expect(linesOf(effectFile())).toEqual([]);
    });

    test('an act this version cannot read is rejected, not left waiting', async () => {
      const session = await begin();
      const frame = runFrame(shellAct('true'));
      session.sendText(JSON.stringify({ ...frame, act: { ...frame.act, novelty: 1 } }));
      expect(await session.frame('error')).toMatchObject({ code: 'malformed_frame' });
      expect(await session.frame('result', frame.commandId)).toMatchObject({
        outcome: 'rejected',
        reason: 'malformed_act',
      });
    });

    test('reports at once how it is when it is asked', async () => {
      const session = await begin();
      await session.frame('presence');
      session.send({ type: 'presenceRequest' });
      await waitFor('a second report', () => session.framesOf('presence').length >= 2);
      expect(session.framesOf('error')).toEqual([]);
    });

    test('unknown frame types are answered by name and are not fatal', async () => {
      const session = await begin();
      session.sendText(JSON.stringify({ type: 'file.open', id: 1 }));
      expect(await session.frame('error')).toMatchObject({ code: 'unknown_frame', message: 'file.open' });
      session.sendText('not json');
      await waitFor('the second error', () => session.framesOf('error').length === 2);
      const frame = runFrame(shellAct('echo still here'));
      session.send(frame);
      expect((await session.frame('result', frame.commandId)).outcome).toBe('succeeded');
    });
  });

  describe('output and results', () => {
    test('no more than the window is in flight, and the result waits for the acks', async () => {
      const session = await begin({ ackOutput: false });
      const frame = runFrame(shellAct('head -c 2000000 /dev/zero'));
      session.send(frame);
      const sentBytes = () =>
        session.framesOf('output').reduce((sum, f) => sum + Buffer.from(f.bytes, 'base64').length, 0);
      await waitFor('a full window', () => sentBytes() === OUTPUT_WINDOW_BYTES);
      const probe = runFrame(shellAct('true'));
      session.send(probe);
      await session.frame('result', probe.commandId);
      expect(sentBytes()).toBe(OUTPUT_WINDOW_BYTES);
      expect(session.framesOf('result', frame.commandId)).toHaveLength(0);
      const ack = (nextOffset: number) =>
        session.send({ type: 'outputAck', commandId: frame.commandId, stream: 'stdout', nextOffset });
      ack(OUTPUT_WINDOW_BYTES);
      await waitFor('the next window', () => sentBytes() === 2 * OUTPUT_WINDOW_BYTES);
      for (let step = 2; step * OUTPUT_WINDOW_BYTES < 2_000_000; step += 1) ack(step * OUTPUT_WINDOW_BYTES);
      await waitFor('all bytes', () => sentBytes() === 2_000_000);
      expect(session.framesOf('result', frame.commandId)).toHaveLength(0);
      ack(2_000_000);
      expect((await session.frame('result', frame.commandId)).stdout.bytes).toBe(2_000_000);
    });

    test('a differing ack makes the agent resend from there, once', async () => {
      const session = await begin({ ackOutput: false });
      const frame = runFrame(shellAct('head -c 200000 /dev/urandom'));
      session.send(frame);
      const sizeOf = (output: { bytes: string }) => Buffer.from(output.bytes, 'base64').length;
      const endOf = (output: { offset: number; bytes: string } | undefined) =>
        output === undefined ? 0 : output.offset + sizeOf(output);
      await waitFor('all bytes', () => endOf(session.framesOf('output').at(-1)) === 200_000);
      const before = session.framesOf('output').length;
      const ack = (nextOffset: number) =>
        session.send({ type: 'outputAck', commandId: frame.commandId, stream: 'stdout', nextOffset });
      for (let index = 0; index < 4; index += 1) ack(1_000);
      const resent = () => session.framesOf('output').slice(before);
      await waitFor('the resend', () => endOf(resent().at(-1)) === 200_000);
      ack(200_000);
      await session.frame('result', frame.commandId);
      expect(resent()[0]?.offset).toBe(1_000);
      expect(resent().reduce((sum, output) => sum + sizeOf(output), 0)).toBe(199_000);
    });

    test('after the loss of the socket output goes on from the offset the server names', async () => {
      const session = await begin();
      const go = join(fixture.directory, 'go');
      const frame = runFrame(
        shellAct(
          `head -c 300000 /dev/zero | tr '\\0' a; while [ ! -e ${go} ]; do sleep 0.02; done; echo end`,
        ),
      );
      session.send(frame);
      await waitFor('first bytes', () => fixture.bridge.output(frame.commandId, 'stdout').length >= 65_536);
      session.terminate();
      const second = await fixture.bridge.session(1);
      const stored = fixture.bridge.output(frame.commandId, 'stdout').length;
      second.send({ ...frame, resume: true, offsets: { stdout: stored, stderr: 0 } });
      await second.frame('started', frame.commandId);
      const touch = runFrame(shellAct(`touch ${go}`));
      second.send(touch);
      const result = await second.frame('result', frame.commandId);
      const bytes = fixture.bridge.output(frame.commandId, 'stdout');
      expect(bytes.toString().endsWith('aend\n')).toBe(true);
      expect(bytes).toHaveLength(300_004);
      expect(result.stdout.sha256).toBe(sha256(bytes));
    });

    test('a result that was not acked comes again on the next connection, without being asked', async () => {
      const session = await begin({ ackResults: false });
      const frame = runFrame(shellAct('echo kept'));
      session.send(frame);
      await session.frame('result', frame.commandId);
      session.terminate();
      const second = await fixture.bridge.session(1);
      const result = await second.frame('result', frame.commandId);
      expect(result.outcome).toBe('succeeded');
      second.send({ type: 'resultAck', commandId: frame.commandId });
      second.send({ ...frame, resume: true });
      await waitFor(
        'the journal still answers',
        () => second.framesOf('result', frame.commandId).length >= 2,
      );
    });

    test('a server that stops reading does not stop the agent from running', async () => {
      const session = await begin();
      const done = join(fixture.directory, 'done');
      const frame = runFrame(
        shellAct(`head -c 8000000 /dev/zero; head -c 8000000 /dev/zero >&2; touch ${done}`),
      );
      session.send(frame);
      await session.frame('started', frame.commandId);
      session.setReading(false);
      await waitFor('the command to end', () => existsSync(done));
      session.setReading(true);
      const result = await session.frame('result', frame.commandId);
      expect(result.stdout.bytes).toBe(8_000_000);
      expect(fixture.bridge.output(frame.commandId, 'stderr')).toHaveLength(8_000_000);
    });
  });

  describe('connections', () => {
    test('a new journal id is taken when the server asks, old ids stay refused, nothing runs before', async () => {
      const session = await begin({ welcome: () => ({}) });
      const frame = runFrame(shellAct(`echo x >> ${effectFile()}`));
      session.send(frame);
      await session.frame('result', frame.commandId);
      const oldId = session.hello.journalId;
      fixture.bridge.options.welcome = (hello) => ({ resetJournal: hello.journalId === oldId });
      session.close(closeCodes.goingAway);
      const third = await fixture.bridge.session(2);
      expect(fixture.bridge.sessions[1]?.hello.journalId).toBe(oldId);
      expect(third.hello.journalId).not.toBe(oldId);
      third.send(frame);
      expect((await third.frame('result', frame.commandId)).outcome).toBe('succeeded');
      expect(linesOf(effectFile())).toEqual(['x']);
    });

    test('a refused credential waits long, other ends come back soon', async () => {
      let closeCode: number = closeCodes.policy;
      fixture = await createFixture({ refuse: () => ({ closeCode }) });
      fixture.agent({ backoff: { baseMs: 10, capMs: 20, refusedMs: 400, supersededMs: 400 } });
      await waitFor('the first refusal', () => fixture.bridge.attempts.length === 1);
      closeCode = closeCodes.superseded;
      await waitFor('the second', () => fixture.bridge.attempts.length === 2);
      closeCode = closeCodes.goingAway;
      await waitFor('some more', () => fixture.bridge.attempts.length >= 5);
      const gaps = fixture.bridge.attempts
        .slice(1)
        .map((time, index) => time - (fixture.bridge.attempts[index] ?? 0));
      expect(gaps[0]).toBeGreaterThanOrEqual(390);
      expect(gaps[1]).toBeGreaterThanOrEqual(390);
      expect(gaps[2]).toBeLessThan(390);
    });

    test('an HTTP 401 counts as a refused credential', async () => {
      fixture = await createFixture({ refuse: () => ({ status: 401 }) });
      fixture.agent({ backoff: { refusedMs: 300 } });
      await waitFor('two attempts', () => fixture.bridge.attempts.length === 2);
      expect((fixture.bridge.attempts[1] ?? 0) - (fixture.bridge.attempts[0] ?? 0)).toBeGreaterThanOrEqual(
        290,
      );
    });

    test('a silent server is left after two missed pongs', async () => {
      const session = await begin({}, { pingIntervalMs: 50 });
      session.setReading(false);
      await fixture.bridge.session(1);
      session.terminate();
    });
  });

  describe('the end', () => {
    test('drain: running commands finish and are acked, new ones are not taken', async () => {
      fixture = await createFixture();
      const agent = fixture.agent();
      const session = await fixture.bridge.session();
      await agent.ready;
      const frame = runFrame(shellAct('sleep 0.5; echo finished'));
      session.send(frame);
      await session.frame('started', frame.commandId);
      const closed = agent.close({ drainMs: 10_000 });
      await session.frame('draining');
      const late = runFrame(shellAct(`echo x >> ${effectFile()}`), { commandId: randomUUID() });
      session.send(late);
      await session.frame('notKnown', late.commandId);
      expect((await session.frame('result', frame.commandId)).outcome).toBe('succeeded');
      await closed;
      await agent.done;
      expect(linesOf(effectFile())).toEqual([]);
      await waitFor('the socket to close', () => !session.isOpen());
    });

    test('drain: is said again to a server that it comes back to', async () => {
      fixture = await createFixture();
      const agent = fixture.agent();
      const session = await fixture.bridge.session();
      const frame = runFrame(shellAct(`while [ ! -e ${effectFile()} ]; do sleep 0.05; done`));
      session.send(frame);
      await session.frame('started', frame.commandId);
      const closed = agent.close({ drainMs: 20_000 });
      await session.frame('draining');
      session.terminate();
      const again = await fixture.bridge.session(1);
      await again.frame('draining');
      writeFileSync(effectFile(), '');
      await closed;
    });

    test('drain: what does not finish by the deadline is killed and reported', async () => {
      fixture = await createFixture();
      const agent = fixture.agent();
      const session = await fixture.bridge.session();
      const frame = runFrame(shellAct('echo begun; sleep 60'));
      session.send(frame);
      await session.frame('started', frame.commandId);
      await agent.close({ drainMs: 50 });
      expect(await session.frame('result', frame.commandId)).toMatchObject({
        outcome: 'canceled',
        reason: 'agent_stopping',
      });
    });

    test('two agents never share a home; a stale lock is taken over', async () => {
      fixture = await createFixture();
      const first = fixture.agent();
      await first.ready;
      const second = fixture.agent();
      await expect(second.ready).rejects.toThrow(/another agent uses this home/);
      await first.close();
      const third = fixture.agent();
      await third.ready;
    });
  });
}
