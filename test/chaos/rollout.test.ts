/** A rollout whose processes are killed in the middle of batch 2 of 4: no target starts twice, all end, batches keep their order. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import type { RolloutTargetView, RolloutView } from '../../contracts/rollouts.ts';
import { query } from '../../db/database.ts';
import { type AgentPart, createInstallation, type Installation, type Part } from '../support/installation.ts';
import { type Effects, openEffects } from './effects.ts';
import { findViolations, waitUntilQuiet } from './invariants.ts';

/** Two for each of the four batches. */
const AGENTS = 8;
const SIZE = 2;

let installation: Installation;
let effects: Effects;
let api: Part;
let worker: Part;
let agents: AgentPart[];
let folder: string;
beforeAll(async () => {
  effects = openEffects();
  installation = await createInstallation();
  api = await installation.startApi();
  worker = await installation.startWorker();
  agents = [];
  for (let i = 1; i <= AGENTS; i++) agents.push(await installation.startAgent({ agentId: `target-${i}` }));
}, 240_000);
afterAll(async () => {
  await installation?.close();
  effects?.close();
});
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'steelthread-rollout-'));
  return () => rmSync(folder, { recursive: true, force: true });
});

/** Leaves its mark; ends when it is let go by its id, or all are. */
const script = (): string =>
  `printf '%s\\n' "$STEELTHREAD_COMMAND_ID" >> ${effects.file}; ` +
  `while [ ! -e ${folder}/all ] && [ ! -e "${folder}/$STEELTHREAD_COMMAND_ID" ]; do sleep 0.05; done; echo done`;
const letGo = (name: string): void => writeFileSync(join(folder, name), '');

const get = (id: string): Promise<RolloutView> => installation.call('GET', `/v1/rollouts/${id}`);
const until = (id: string, fits: (rollout: RolloutView) => boolean, what: string): Promise<RolloutView> =>
  installation.until(() => get(id), fits, what, 120_000);
const targetsOf = async (id: string): Promise<RolloutTargetView[]> =>
  (await installation.call<{ items: RolloutTargetView[] }>('GET', `/v1/rollouts/${id}/targets`)).items;

/** Until every command of a batch has started; @returns their ids. */
async function untilStarted(id: string, batchNo: number): Promise<string[]> {
  const started = await installation.until(
    () => targetsOf(id),
    (targets) => targets.filter((one) => one.batchNo === batchNo && one.state === 'running').length === SIZE,
    `batch ${batchNo} runs`,
    120_000,
  );
  const ids = started.flatMap((one) =>
    one.batchNo === batchNo && one.commandId !== null ? [one.commandId] : [],
  );
  await installation.until(
    async () => ids.every((commandId) => effects.counts().has(commandId)),
    Boolean,
    'their effects',
  );
  return ids;
}

/** A rollout in the middle of batch 2: one of its two commands has ended, the other one runs. */
async function driveToTheMiddle(): Promise<{ id: string; running: string }> {
  const { id } = await installation.call<RolloutView>('POST', '/v1/rollouts', {
    agents: { ids: agents.map(({ agentId }) => agentId) },
    run: { act: { command: script(), timeoutMs: 240_000 } },
    batchSize: SIZE,
    stopAfter: null,
    offline: { kind: 'queue', expiryMs: 240_000 },
  });
  for (const commandId of await untilStarted(id, 1)) letGo(commandId);
  const [first = '', second = ''] = await untilStarted(id, 2);
  letGo(first);
  await until(id, ({ counts }) => counts.succeeded === SIZE + 1, 'half of batch 2 is in');
  return { id, running: second };
}

/** Every promise, and the order of the batches by what was written when. */
async function expectRight(id: string, states: Record<string, number>): Promise<void> {
  await waitUntilQuiet(installation);
  expect(await findViolations(installation, effects)).toEqual([]);
  const targets = await targetsOf(id);
  const found: Record<string, number> = {};
  for (const { state } of targets) found[state] = (found[state] ?? 0) + 1;
  expect(found).toEqual(states);
  const counts = effects.counts();
  for (const { commandId } of targets) expect(counts.get(commandId ?? '')).toBe(1);
  const rows = await query<{ batchNo: number; commands: number; beganAt: Date; endedAt: Date }>(
    installation.db,
    `select t.batch_no as "batchNo", count(*) as commands, min(c.created_at) as "beganAt", max(c.finished_at) as "endedAt"
     from rollout_targets t join commands c on c.command_id = t.command_id
     where t.rollout_id = :id group by t.batch_no order by t.batch_no`,
    { id },
  );
  expect(rows.map(({ batchNo, commands }) => [batchNo, commands])).toEqual(
    [1, 2, 3, 4].map((no) => [no, SIZE]),
  );
  rows.slice(1).forEach((row, index) => {
    expect(row.beganAt.getTime()).toBeGreaterThanOrEqual(rows[index]?.endedAt.getTime() ?? 0);
  });
}

test('worker and API are killed: what ended meanwhile is told afterwards, and the rollout goes on', async () => {
  const { id } = await driveToTheMiddle();
  await Promise.all([worker.kill(), api.kill()]);
  letGo('all'); // the running command ends while nobody listens
  await Promise.all([api.start(), worker.start()]);
  expect(await until(id, ({ endedAt }) => endedAt !== null, 'the end')).toMatchObject({
    ...{ state: 'completed', batchNo: 4, counts: { succeeded: AGENTS, failed: 0, pending: 0, out: 0 } },
  });
  await expectRight(id, { succeeded: AGENTS });
});

test('everything is killed, agents too: the command that ran is unknown, and the rollout goes on', async () => {
  const { id, running } = await driveToTheMiddle();
  await Promise.all(installation.parts.map((part) => part.kill()));
  letGo('all');
  for (const part of installation.parts) await part.start();
  expect(await until(id, ({ endedAt }) => endedAt !== null, 'the end')).toMatchObject({
    ...{ state: 'completed', counts: { succeeded: AGENTS - 1, failed: 1 } },
  });
  const target = (await targetsOf(id)).find(({ commandId }) => commandId === running);
  expect(target).toMatchObject({ batchNo: 2, state: 'unknown' });
  await expectRight(id, { succeeded: AGENTS - 1, unknown: 1 });
});
