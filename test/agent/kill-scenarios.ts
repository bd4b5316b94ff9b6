/** What every kind of agent must do: end everything of a command. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import type { AgentOptions } from '../../agent/agent.ts';
import { isAlive } from '../../agent/proc.ts';
import { runFrame, shellAct, waitFor } from '../support/scripted-bridge.ts';
import { type AgentProgram, type Fixture, linesOf } from './agent-fixture.ts';

/** Starts grandchildren of every kind; each writes its pid to the file and ignores TERM. */
const stubbornTree = (pids: string): string => `
  child='trap "" TERM HUP; echo $$ >> ${pids}; while :; do sleep 0.2; done'
  setsid bash -c "$child" & # a session of its own
  setsid nohup bash -c "setsid bash -c '\${child}' & echo \\$\\$ >> ${pids}; trap '' TERM; while :; do sleep 0.2; done" > /dev/null 2>&1 &
  bash -c "$child" &
  trap '' TERM
  echo $$ >> ${pids}
  while :; do sleep 0.2; done`;

export function killScenarios({ createFixture }: AgentProgram): void {
  describe
    .runIf(process.platform === 'linux')
    .each<{ cgroups: AgentOptions['cgroups'] }>([{ cgroups: 'auto' }, { cgroups: 'off' }])(
    'kill rule, cgroups $cgroups',
    ({ cgroups }) => {
      let fixture: Fixture;
      afterEach(() => fixture.close());

      const start = async (script: (pids: string) => string, timeoutMs = 30_000) => {
        fixture = await createFixture();
        fixture.agent({ cgroups });
        const session = await fixture.bridge.session();
        const pids = join(fixture.directory, 'pids');
        const frame = runFrame(shellAct(script(pids), { timeoutMs }));
        session.send(frame);
        await session.frame('started', frame.commandId);
        return { session, frame, pids };
      };
      const living = (pids: string): string[] => linesOf(pids).filter((pid) => isAlive(Number(pid), null));

      test('cancel leaves none of the tree alive', async () => {
        const { session, frame, pids } = await start(stubbornTree);
        await waitFor('five processes', () => new Set(linesOf(pids)).size >= 5);
        expect(living(pids).length).toBeGreaterThanOrEqual(5);
        session.send({ type: 'cancel', commandId: frame.commandId, reason: 'asked by a test' });
        const result = await session.frame('result', frame.commandId);
        expect(result).toMatchObject({ outcome: 'canceled', reason: 'asked by a test' });
        expect(living(pids)).toEqual([]);
      });

      test('timeout leaves none of the tree alive', async () => {
        const { session, frame, pids } = await start(stubbornTree, 1_000);
        const result = await session.frame('result', frame.commandId);
        expect(result).toMatchObject({ outcome: 'timed_out', reason: 'timeout' });
        expect(linesOf(pids).length).toBeGreaterThanOrEqual(5);
        expect(living(pids)).toEqual([]);
      });

      test('a process whose first thread has ended lives on in the others, and is ended', async () => {
        const { session, frame, pids } = await start(
          (file) => `
      cat > ${file}.py <<'END'
import ctypes, os, sys, threading, time
threading.Thread(target=time.sleep, args=(120,)).start()
with open(sys.argv[1], "w") as file:
    file.write("%d\\n" % os.getpid())
ctypes.CDLL(None).pthread_exit(None)
END
      python3 ${file}.py ${file} & sleep 60`,
        );
        const stateOf = ([pid]: string[]): string | undefined =>
          pid === undefined
            ? undefined
            : / ([A-Z]) [^)]*$/.exec(readFileSync(`/proc/${pid}/stat`, 'latin1'))?.[1];
        await waitFor('the end of the first thread', () => stateOf(linesOf(pids)) === 'Z');
        expect(living(pids)).toHaveLength(1);
        session.send({ type: 'cancel', commandId: frame.commandId, reason: 'stop' });
        await session.frame('result', frame.commandId);
        expect(living(pids)).toEqual([]);
      });

      test('a process that keeps forking away is outrun', async () => {
        const hop = (pids: string): string => `
      cat > ${pids}.sh <<'END'
trap '' TERM
echo $$ >> ${pids}
sleep 0.002
setsid bash ${pids}.sh &
END
      bash ${pids}.sh & sleep 60`;
        const { session, frame, pids } = await start(hop);
        await waitFor('some hops', () => linesOf(pids).length > 20);
        session.send({ type: 'cancel', commandId: frame.commandId, reason: 'storm' });
        expect(await session.frame('result', frame.commandId)).toMatchObject({
          outcome: 'canceled',
          reason: 'storm',
        });
        expect(living(pids)).toEqual([]);
      });

      test.runIf(cgroups === 'auto')(
        'in a cgroup not even a child with a cleared environment escapes',
        async (context) => {
          const { session, frame, pids } = await start(
            (file) =>
              `env -i setsid bash -c 'trap "" TERM; echo $$ >> ${file}; while :; do /bin/sleep 0.1; done' & sleep 60`,
          );
          await waitFor('the child', () => linesOf(pids).length === 1);
          session.send({ type: 'cancel', commandId: frame.commandId, reason: 'stop' });
          await session.frame('result', frame.commandId);
          if (session.hello.capabilities.includes('cgroup')) return expect(living(pids)).toEqual([]);
          for (const pid of living(pids)) process.kill(Number(pid), 'SIGKILL');
          context.skip('no cgroup can be made here');
        },
      );

      test('a stopped process is ended too, and a polite one gets its TERM', async () => {
        const { session, frame, pids } = await start(
          (file) =>
            `trap 'echo bye; exit 3' TERM; (kill -STOP $BASHPID; sleep 60) & echo $! >> ${file}; wait; wait`,
        );
        await waitFor('the child', () => linesOf(pids).length === 1);
        session.send({ type: 'cancel', commandId: frame.commandId, reason: 'stop' });
        const result = await session.frame('result', frame.commandId);
        expect(result.outcome).toBe('canceled');
        expect(fixture.bridge.output(frame.commandId, 'stdout').toString()).toBe('bye\n');
        expect(living(pids)).toEqual([]);
      });
    },
  );
}
