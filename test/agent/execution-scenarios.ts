/** What every kind of agent must do: run commands. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { RunFrame } from '../../contracts/agent-protocol.ts';
import { argvAct, type BridgeSession, runFrame, sha256, shellAct } from '../support/scripted-bridge.ts';
import type { AgentProgram, Fixture } from './agent-fixture.ts';

export function executionScenarios({ createFixture }: AgentProgram): void {
  describe('running commands', () => {
    let fixture: Fixture;
    let session: BridgeSession;

    beforeEach(async () => {
      fixture = await createFixture();
      fixture.agent({ environment: { ...process.env, STEELTHREAD_AGENT_TOKEN: 'secret' } });
      session = await fixture.bridge.session();
    });
    afterEach(() => fixture.close());

    const run = async (frame: RunFrame) => {
      session.send(frame);
      const result = await session.frame('result', frame.commandId);
      const stdout = fixture.bridge.output(frame.commandId, 'stdout');
      const stderr = fixture.bridge.output(frame.commandId, 'stderr');
      return { result, stdout, stderr };
    };

    test('a script succeeds: started, output by stream, result, in this order', async () => {
      const frame = runFrame(shellAct('echo out; echo err >&2'));
      const { result, stdout, stderr } = await run(frame);
      expect(result).toMatchObject({ outcome: 'succeeded', exitCode: 0, signal: null, reason: null });
      expect(result.durationMs).toBeGreaterThanOrEqual(0);
      expect(stdout.toString()).toBe('out\n');
      expect(stderr.toString()).toBe('err\n');
      expect(result.stdout).toEqual({ bytes: 4, totalBytes: 4, sha256: sha256(stdout), truncated: false });
      const types = session.frames.filter((f) => 'commandId' in f).map((f) => f.type);
      expect(types[0]).toBe('started');
      expect(types.at(-1)).toBe('result');
      expect(session.authorization).toBe('Bearer test-token');
    });

    test('exit codes and signals are failures with their cause', async () => {
      expect((await run(runFrame(shellAct('exit 7')))).result).toMatchObject({
        outcome: 'failed',
        exitCode: 7,
      });
      expect((await run(runFrame(shellAct('kill -9 $$')))).result).toMatchObject({
        outcome: 'failed',
        exitCode: null,
        signal: 'SIGKILL',
      });
    });

    test('argv runs without a shell', async () => {
      const { stdout } = await run(runFrame(argvAct(['printf', '%s|', '$HOME', 'a b', '*'])));
      expect(stdout.toString()).toBe('$HOME|a b|*|');
    });

    test('output is byte-exact: NUL, invalid UTF-8', async () => {
      const { result, stdout } = await run(runFrame(shellAct(String.raw`printf 'a\0b\377\376\n'`)));
      expect([...stdout]).toEqual([0x61, 0, 0x62, 0xff, 0xfe, 0x0a]);
      expect(result.stdout.sha256).toBe(sha256(stdout));
    });

    test('20 MiB are cut at the cap of 16 MiB, flagged, with total and hash', async () => {
      const script = `head -c ${20 * 1024 * 1024} /dev/zero | tr '\\0' 'x'; echo end >&2`;
      const { result, stdout, stderr } = await run(runFrame(shellAct(script)));
      const cap = 16 * 1024 * 1024;
      expect(result).toMatchObject({ outcome: 'succeeded' });
      expect(result.stdout).toEqual({
        bytes: cap,
        totalBytes: 20 * 1024 * 1024,
        sha256: sha256(Buffer.alloc(cap, 'x')),
        truncated: true,
      });
      expect(stdout.equals(Buffer.alloc(cap, 'x'))).toBe(true);
      expect(stderr.toString()).toBe('end\n');
    }, 60_000);

    test('a cap of 0 keeps nothing and says so', async () => {
      const { result } = await run(runFrame(shellAct('echo hello', { outputCapBytes: 0 })));
      expect(result.stdout).toMatchObject({ bytes: 0, totalBytes: 6, truncated: true });
    });

    test('standard input is fed, and is empty when there is none', async () => {
      const stdin = Buffer.from('line 1\nline \0 2\n');
      const fed = await run(runFrame(shellAct('cat /dev/stdin', { stdin: stdin.toString('base64') })));
      expect(fed.stdout.equals(stdin)).toBe(true);
      const empty = await run(runFrame(shellAct('cat; echo done')));
      expect(empty.stdout.toString()).toBe('done\n');
    });

    test('standard streams can be reopened by name', async () => {
      const { stdout, stderr } = await run(
        runFrame(shellAct('echo a > /dev/stdout; echo b > /dev/stderr; echo c')),
      );
      expect(stdout.toString()).toBe('a\nc\n');
      expect(stderr.toString()).toBe('b\n');
    });

    test('the environment is clean, and marked with the command id', async () => {
      const frame = runFrame(shellAct('env', { environment: { EXTRA: 'x y' } }));
      const { stdout } = await run(frame);
      const names = stdout
        .toString()
        .split('\n')
        .map((line) => line.split('=')[0]);
      expect(names).not.toContain('STEELTHREAD_AGENT_TOKEN');
      expect(names).not.toContain('NODE_OPTIONS');
      const allowed = [
        'PATH',
        'HOME',
        'LANG',
        'TZ',
        'USER',
        'LOGNAME',
        'SHELL',
        'TMPDIR',
        'PWD',
        'SHLVL',
        'OLDPWD',
        '_',
      ];
      const extra = names.filter((name) => name && !allowed.includes(name));
      expect(extra.sort()).toEqual(['EXTRA', 'STEELTHREAD_COMMAND_ID']);
      expect(stdout.toString()).toContain(`STEELTHREAD_COMMAND_ID=${frame.commandId}`);
    });

    test('the working directory is used; a missing one rejects', async () => {
      const there = await run(runFrame(shellAct('pwd', { workingDirectory: fixture.directory })));
      expect(there.stdout.toString().trim()).toBe(fixture.directory);
      const missing = await run(
        runFrame(shellAct('pwd', { workingDirectory: join(fixture.directory, 'no') })),
      );
      expect(missing.result).toMatchObject({
        outcome: 'rejected',
        reason: 'working_directory_not_found',
        startedAt: null,
      });
      expect(session.framesOf('started', missing.result.commandId)).toHaveLength(0);
    });

    test('what cannot start is rejected with the reason', async () => {
      const reasonOf = async (frame: RunFrame) => {
        const { result } = await run(frame);
        expect(result.outcome).toBe('rejected');
        return result.reason;
      };
      expect(await reasonOf(runFrame(argvAct(['no-such-program-here'])))).toBe('program_not_found');
      expect(await reasonOf(runFrame(argvAct(['/no/such/program'])))).toBe('program_not_found');
      expect(await reasonOf(runFrame(argvAct(['/etc/passwd'])))).toBe('permission_denied');
      expect(await reasonOf(runFrame(shellAct('x', { user: 'no-such-user' })))).toBe('user_not_found');
      expect(await reasonOf(runFrame(shellAct('x', { shell: 'powershell' })))).toBe('shell_not_found');
    });

    test.runIf(process.getuid?.() === 0)('as root a command runs as another user', async () => {
      const { result, stdout, stderr } = await run(
        runFrame(shellAct('id -un; echo e > /dev/stderr', { user: 'nobody', workingDirectory: '/' })),
      );
      expect(result.outcome).toBe('succeeded');
      expect(stdout.toString()).toBe('nobody\n');
      expect(stderr.toString()).toBe('e\n');
    });

    test('a background child does not hold up a normal end, and lives on', async () => {
      const mark = join(fixture.directory, 'mark');
      const script = `(while [ ! -e ${mark} ]; do sleep 0.02; done; echo $BASHPID > ${mark}.done) & echo main`;
      const { result, stdout } = await run(runFrame(shellAct(script)));
      expect(result.outcome).toBe('succeeded');
      expect(stdout.toString()).toBe('main\n');
      const again = await run(
        runFrame(shellAct(`touch ${mark}; while [ ! -e ${mark}.done ]; do sleep 0.02; done`)),
      );
      expect(again.result.outcome).toBe('succeeded');
      expect(existsSync(`${mark}.done`)).toBe(true);
    });

    test('more commands than may run at once are all run', async () => {
      const frames = Array.from({ length: 40 }, (_, index) => runFrame(shellAct(`echo ${index}`)));
      for (const frame of frames) session.send(frame);
      for (const [index, frame] of frames.entries()) {
        expect((await session.frame('result', frame.commandId)).outcome).toBe('succeeded');
        expect(fixture.bridge.output(frame.commandId, 'stdout').toString()).toBe(`${index}\n`);
      }
    });
  });
}
