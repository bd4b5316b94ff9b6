/** One batch for a thousand agents through the real API, quietly and with the API killed in the middle. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { BatchView } from '../../contracts/commands.ts';
import { query } from '../../db/database.ts';
import { type Effects, openEffects } from '../chaos/effects.ts';
import { findViolations, waitUntilQuiet } from '../chaos/invariants.ts';
import { type ApiPart, createInstallation, type Installation } from '../support/installation.ts';

const AGENTS = 1_000;
/** Enrolments asked for at the same time. */
const LANES = 8;

let installation: Installation;
let effects: Effects;
let api: ApiPart;
let agentIds: string[];

beforeAll(async () => {
  effects = openEffects();
  installation = await createInstallation();
  api = await installation.startApi();
  await installation.startWorker();
  const identities = await enrolFleet();
  agentIds = identities.map((identity) => identity.agentId);
  const file = join(installation.home, 'fleet.json');
  writeFileSync(file, JSON.stringify(identities));
  await installation.startProgram({
    name: 'fleet',
    file: 'test/scale/fleet.ts',
    env: { FLEET_URL: api.url, FLEET_FILE: file, FLEET_EFFECTS: effects.file },
    ready: /^fleet_ready$/,
  });
});
afterAll(async () => {
  await installation?.close();
  effects?.close();
});

test('a thousand agents run one act, each once, and the batch finishes', async () => {
  const startedAt = performance.now();
  const batch = await runOnAll('echo quiet');
  await untilFinished(batch.batchId);
  process.stdout.write(`batch of ${AGENTS}: ${Math.round(performance.now() - startedAt)} ms\n`);
  await expectAllSucceeded(batch.batchId);
});

test('the API is killed while a batch of a thousand is out: each runs once all the same', async () => {
  const running = runOnAll('echo killed');
  await installation.until(
    async () => effects.counts().size,
    (count) => count > AGENTS + AGENTS / 10,
    'a tenth of the fleet has started',
  );
  await api.kill();
  await api.start();
  const batch = await running; // the request was repeated with its Idempotency-Key
  await untilFinished(batch.batchId);
  await expectAllSucceeded(batch.batchId);
});

const runOnAll = (command: string): Promise<BatchView> =>
  installation.call('POST', '/v1/commands', { agentIds, act: { command } });

const untilFinished = (batchId: string) =>
  installation.until(
    () =>
      query<{ pending: number; finished: boolean }>(
        installation.db,
        'select pending, finished_at is not null as finished from batches where id = :id',
        { id: batchId },
      ),
    (rows) => rows[0]?.finished === true,
    `batch ${batchId}`,
    90_000,
  );

async function expectAllSucceeded(batchId: string): Promise<void> {
  await waitUntilQuiet(installation);
  const states = await query<{ state: string; count: number }>(
    installation.db,
    'select state, count(*) as count from commands where batch_id = :id group by state',
    { id: batchId },
  );
  expect(states).toEqual([{ state: 'succeeded', count: AGENTS }]);
  expect(await findViolations(installation, effects)).toEqual([]);
}

async function enrolFleet(): Promise<{ agentId: string; agentToken: string }[]> {
  const { enrolmentToken } = await installation.call<{ enrolmentToken: string }>(
    'POST',
    '/v1/agents/enrolments',
    { maxUses: AGENTS },
  );
  const names = Array.from({ length: AGENTS }, (_, index) => `fleet-${index}`);
  const identities: { agentId: string; agentToken: string }[] = [];
  const waiting = names.values();
  const lane = async (): Promise<void> => {
    for (const agentId of waiting) {
      const body = { enrolmentToken, hostname: agentId, agentId };
      identities.push(await installation.call('POST', '/v1/agents/enrol', body));
    }
  };
  await Promise.all(Array.from({ length: LANES }, lane));
  return identities;
}
