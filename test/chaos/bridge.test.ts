/** The bridge is killed, twice, with 200 commands in flight on 50 agents: real ones, with journals and shells. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { closeSync, openSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { BatchView } from '../../contracts/commands.ts';
import { query } from '../../db/database.ts';
import { type ApiPart, createInstallation, type Installation } from '../support/installation.ts';
import { type Effects, openEffects } from './effects.ts';
import { findViolations, waitUntilQuiet } from './invariants.ts';

const AGENTS = 50;
const COMMANDS_OF_AGENT = 4;
const ALL = AGENTS * COMMANDS_OF_AGENT;
/** Numbers printed before and after the wait: some 46 and 60 KB. */
const HALF = 10_000;

let installation: Installation;
let effects: Effects;
let api: ApiPart;
/** Commands wait for a line from here. Held open by the test, so that nobody meets its end. */
let gate: number;
let gateFile: string;

beforeAll(async () => {
  effects = openEffects();
  installation = await createInstallation();
  gateFile = join(installation.home, 'gate');
  execFileSync('mkfifo', ['-m', '666', gateFile]);
  gate = openSync(gateFile, 'r+');
  api = await installation.startApi();
  await installation.startWorker();
});
afterAll(async () => {
  await installation?.close();
  closeSync(gate);
  effects?.close();
});

const countOf = async (condition: string): Promise<number> =>
  (
    await query<{ count: number }>(
      installation.db,
      `select count(*) as count from commands where ${condition}`,
    )
  )[0]?.count ?? 0;

test('each starts once, all outcomes are final, and the output is complete', async () => {
  const identities = await enrolAgents();
  const file = join(installation.home, 'agents.json');
  writeFileSync(file, JSON.stringify(identities));
  await installation.startProgram({
    name: 'agents',
    file: 'test/chaos/agents.ts',
    env: { AGENTS_URL: api.url, AGENTS_HOME: join(installation.home, 'agents'), AGENTS_FILE: file },
    ready: /^agents_ready$/,
  });

  const agentIds = identities.map(({ agentId }) => agentId);
  const command = [
    `printf '%s\\n' "$STEELTHREAD_COMMAND_ID" >> ${effects.file}`,
    `seq 1 ${HALF}`,
    `read -r go < ${gateFile}`,
    `seq ${HALF + 1} ${2 * HALF}`,
  ].join('; ');
  for (let at = 0; at < COMMANDS_OF_AGENT; at += 1)
    await installation.call<BatchView>('POST', '/v1/commands', {
      agentIds,
      act: { command, shell: 'sh', timeoutMs: 240_000, expiryMs: 240_000 },
    });
  expect(await countOf(`state in ('queued', 'sent', 'running')`)).toBe(ALL);

  // While they start, and print their first half.
  await installation.until(
    async () => effects.counts().size,
    (count) => count >= ALL / 4,
    'a quarter to have started',
  );
  await api.kill();
  await api.start();

  // While all of them run; they end while no bridge is there.
  await installation.until(
    () => countOf(`state = 'running' and stdout_bytes > 0`),
    (count) => count === ALL,
    'all to run',
    120_000,
  );
  await api.kill();
  writeSync(gate, '\n'.repeat(ALL));
  await api.start();

  await waitUntilQuiet(installation, { timeoutMs: 120_000 });
  expect(await findViolations(installation, effects)).toEqual([]);
  expect([...effects.counts().values()].filter((count) => count !== 1)).toEqual([]);
  expect(effects.counts().size).toBe(ALL);
  const output = Array.from({ length: 2 * HALF }, (_, at) => `${at + 1}\n`).join('');
  const outcomes = await query<Record<string, unknown>>(
    installation.db,
    `select state, stdout_bytes as bytes, stdout_sha256 as sha256, stdout_truncated as cut, count(*) as count
     from commands group by 1, 2, 3, 4`,
  );
  const sha256 = createHash('sha256').update(output).digest('hex');
  expect(outcomes).toEqual([{ state: 'succeeded', bytes: output.length, sha256, cut: false, count: ALL }]);
});

async function enrolAgents(): Promise<{ agentId: string; agentToken: string }[]> {
  const { enrolmentToken } = await installation.call<{ enrolmentToken: string }>(
    'POST',
    '/v1/agents/enrolments',
    { maxUses: AGENTS },
  );
  const identities: { agentId: string; agentToken: string }[] = [];
  for (let at = 0; at < AGENTS; at += 1) {
    const agentId = `agent-${at}`;
    identities.push(
      await installation.call('POST', '/v1/agents/enrol', { enrolmentToken, hostname: agentId, agentId }),
    );
  }
  return identities;
}
