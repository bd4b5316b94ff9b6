import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { COMMAND_ID_VARIABLE, killCommand } from '../../agent/kill.ts';
import { isAlive } from '../../agent/proc.ts';
import { waitFor } from '../support/scripted-bridge.ts';
import { javascriptAgent, linesOf } from './agent-fixture.ts';
import { killScenarios } from './kill-scenarios.ts';

killScenarios(javascriptAgent);

/** Where others come and go all the time each round takes a second more, milliseconds. */
const ROUNDS_TIMEOUT_MS = 120_000;

/** A search that is slower than a process lives must not take it for gone. */
const onLinux = test.runIf(process.platform === 'linux');
onLinux('whoever lives only for a moment is not overlooked', { timeout: ROUNDS_TIMEOUT_MS }, async () => {
  const directory = mkdtempSync(join(tmpdir(), 'steelthread-kill-'));
  const [script, pids] = [join(directory, 'hop'), join(directory, 'pids')];
  writeFileSync(script, `trap '' TERM\necho $$ >> ${pids}\nsleep 0.002\nsetsid bash ${script} &\n`);
  const survivors: string[] = [];
  try {
    for (let round = 0; round < 10; round += 1) {
      writeFileSync(pids, '');
      const commandId = randomUUID();
      const child = spawn('bash', ['-c', `bash ${script} & sleep 60`], {
        detached: true,
        stdio: 'ignore',
        env: { PATH: process.env.PATH, [COMMAND_ID_VARIABLE]: commandId },
      });
      await waitFor('some hops', () => linesOf(pids).length > 5);
      const target = { commandId, pid: child.pid ?? null, processStart: null };
      expect(await killCommand(target, { graceMs: 20, deadlineMs: 20_000 })).toBe(0);
      survivors.push(...linesOf(pids).filter((pid) => isAlive(Number(pid), null)));
    }
  } finally {
    // Without its script the chain ends.
    rmSync(directory, { recursive: true, force: true, maxRetries: 5 });
  }
  expect(survivors).toEqual([]);
});
