/** What every kind of agent must do after it was killed itself. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { isAlive } from '../../agent/proc.ts';
import { runFrame, sha256, shellAct, waitFor } from '../support/scripted-bridge.ts';
import { type AgentProgram, exited, type Fixture, linesOf } from './agent-fixture.ts';

export function restartScenarios({ createFixture, stallingProgram }: AgentProgram): void {
  describe.runIf(process.platform === 'linux')('an agent killed with SIGKILL', () => {
    let fixture: Fixture;
    beforeEach(async () => {
      fixture = await createFixture();
    });
    afterEach(() => fixture.close());

    const effect = (): string => join(fixture.directory, 'effect');
    /** Says that it ran, then goes on; TERM does not end it. */
    const longScript = (): string =>
      `trap '' TERM; echo $$ >> ${effect()}; echo begun; while :; do sleep 0.1; done`;
    const killNow = async (child: ReturnType<Fixture['agentProcess']>): Promise<void> => {
      child.kill('SIGKILL');
      expect(await exited(child)).toBe('SIGKILL');
    };

    test('between STARTED and RESULT: survivors die first, then it is unknown, and it never starts again', async () => {
      const first = fixture.agentProcess();
      const session = await fixture.bridge.session();
      const frame = runFrame(shellAct(longScript()));
      session.send(frame);
      await waitFor('the effect', () => linesOf(effect()).length === 1);
      await session.frame('started', frame.commandId);
      const pid = Number(linesOf(effect())[0]);
      await killNow(first);
      expect(isAlive(pid, null)).toBe(true);

      fixture.agentProcess();
      const second = await fixture.bridge.session(1);
      expect(isAlive(pid, null)).toBe(false);
      expect(second.hello.journalId).toBe(session.hello.journalId);
      expect(second.hello.journalSeq).toBeGreaterThanOrEqual(2);
      second.send({ ...frame, resume: true, offsets: { stdout: 6, stderr: 0 } });
      const result = await second.frame('result', frame.commandId);
      expect(result).toMatchObject({ outcome: 'unknown', reason: 'agent_restarted', exitCode: null });
      expect(result.startedAt).not.toBeNull();
      second.send(frame);
      const probe = runFrame(shellAct('true'));
      second.send(probe);
      await second.frame('result', probe.commandId);
      expect(linesOf(effect())).toHaveLength(1);
    });

    test('between INTENT and STARTED: the same', async () => {
      const first = fixture.agentProcess(stallingProgram);
      const session = await fixture.bridge.session();
      const frame = runFrame(shellAct(longScript()));
      session.send(frame);
      await waitFor('the effect', () => linesOf(effect()).length === 1);
      const pid = Number(linesOf(effect())[0]);
      await killNow(first);
      const journal = readFileSync(join(fixture.home, 'journal.log'), 'utf8');
      expect(journal).toContain('"t":"intent"');
      expect(journal).not.toContain('"t":"started"');
      expect(isAlive(pid, null)).toBe(true);

      fixture.agentProcess();
      const second = await fixture.bridge.session(1);
      expect(isAlive(pid, null)).toBe(false);
      second.send(frame);
      const result = await second.frame('result', frame.commandId);
      expect(result).toMatchObject({ outcome: 'unknown', reason: 'agent_restarted', startedAt: null });
      expect(linesOf(effect())).toHaveLength(1);
    });

    test('between RESULT and its ack: result and output come again, byte for byte, small and large', async () => {
      fixture.bridge.options.ackOutput = false;
      const first = fixture.agentProcess();
      const session = await fixture.bridge.session();
      const small = runFrame(shellAct(`echo x >> ${effect()}; echo small`));
      const large = runFrame(shellAct('head -c 300000 /dev/urandom'));
      session.send(small);
      session.send(large);
      await waitFor('both results in the journal', () => {
        const text = readFileSync(join(fixture.home, 'journal.log'), 'utf8');
        return text.split('"t":"result"').length === 3;
      });
      await killNow(first);
      expect(session.framesOf('result')).toHaveLength(0);

      fixture.bridge.options.ackOutput = true;
      fixture.agentProcess();
      const second = await fixture.bridge.session(1);
      for (const frame of [small, large]) {
        const result = await second.frame('result', frame.commandId);
        expect(result).toMatchObject({ outcome: 'succeeded', exitCode: 0 });
        expect(sha256(fixture.bridge.output(frame.commandId, 'stdout'))).toBe(result.stdout.sha256);
      }
      expect(fixture.bridge.output(small.commandId, 'stdout').toString()).toBe('small\n');
      expect(linesOf(effect())).toEqual(['x']);
      await waitFor(
        'the spool to be empty',
        () => !existsSync(join(fixture.home, 'spool', `${large.commandId}.stdout`)),
      );
    });

    test('at any moment: no command starts twice, and each has one outcome in the end', async () => {
      const frames = Array.from({ length: 60 }, (_, index) =>
        runFrame(shellAct(`echo ${index} >> ${effect()}`)),
      );
      const pending = new Map(frames.map((frame) => [frame.commandId, frame]));
      const outcomes = new Map<string, Set<string>>();
      for (let round = 0; pending.size > 0; round += 1) {
        expect(round).toBeLessThan(12);
        const child = fixture.agentProcess();
        const session = await fixture.bridge.session(round);
        // Delivered again and again, as by a server that lost every answer.
        for (const frame of pending.values()) session.send(frame);
        const isLast = round >= 5;
        const enough = isLast ? pending.size : 3 + round * 2;
        await waitFor('some results', () => session.framesOf('result').length >= enough);
        await killNow(child);
        for (const result of session.framesOf('result')) {
          outcomes.set(result.commandId, (outcomes.get(result.commandId) ?? new Set()).add(result.outcome));
          if (isLast) pending.delete(result.commandId);
        }
      }
      expect(outcomes.size).toBe(frames.length);
      const lines = linesOf(effect());
      expect(new Set(lines).size).toBe(lines.length);
      for (const [index, frame] of frames.entries()) {
        const seen = outcomes.get(frame.commandId);
        expect(seen?.size).toBe(1);
        if (seen?.has('succeeded')) expect(lines).toContain(String(index));
      }
    }, 60_000);

    test('SIGTERM drains and exits 0; a second agent process is refused the home meanwhile', async () => {
      const child = fixture.agentProcess();
      const session = await fixture.bridge.session();
      const frame = runFrame(shellAct('sleep 1; echo finished'));
      session.send(frame);
      await session.frame('started', frame.commandId);
      const other = fixture.agentProcess();
      expect(await exited(other)).toBe(1);
      expect(other.log()).toContain('another agent uses this home');
      child.kill('SIGTERM');
      await session.frame('draining');
      expect((await session.frame('result', frame.commandId)).outcome).toBe('succeeded');
      expect(await exited(child)).toBe(0);
      expect(child.log()).not.toContain('sleep 1');
      expect(child.log()).not.toContain('test-token');
      expect(existsSync(join(fixture.home, 'lock'))).toBe(false);
    });

    test('a second SIGINT ends running commands at once', async () => {
      const child = fixture.agentProcess();
      const session = await fixture.bridge.session();
      const frame = runFrame(shellAct('sleep 60'));
      session.send(frame);
      await session.frame('started', frame.commandId);
      child.kill('SIGINT');
      await session.frame('draining');
      child.kill('SIGINT');
      expect(await session.frame('result', frame.commandId)).toMatchObject({ reason: 'agent_stopping' });
      expect(await exited(child)).toBe(0);
    });
  });
}
