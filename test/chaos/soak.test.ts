/**
 * A minute of work on two APIs, two workers and three agents while processes are killed at random. Afterwards every
 * promise must hold for everything that was acknowledged. Repeat a run with CHAOS_SEED=<the seed it printed>.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { wholeEnvironment } from '../../config.ts';
import type { BatchView } from '../../contracts/commands.ts';
import type { TaskView } from '../../contracts/tasks.ts';
import { query } from '../../db/database.ts';
import { type AgentPart, createInstallation, type Installation, type Part } from '../support/installation.ts';
import { type Effects, openEffects } from './effects.ts';
import { findViolations, waitUntilQuiet } from './invariants.ts';
import { type Model, startModel } from './model.ts';
import { createRandom, type Random } from './random.ts';

const SOAK_MS = 60_000;
/** Work begun at the same time, so that there always is something to kill. */
const LANES = 4;
const MIN_KILL_PAUSE_MS = 500;
const MAX_KILL_PAUSE_MS = 3_000;
const MAX_DOWN_MS = 1_000;
/** Processes that are dead or starting at the same time. */
const KILLERS = 2;
/** Commands take up to this long, so that their agents die in the middle of them. */
const MAX_COMMAND_MS = 1_500;
const APPROVER_PAUSE_MS = 200;
/** Restarts, sticky workflow tasks and backoffs must all have run out. */
const QUIET_TIMEOUT_MS = 180_000;

let installation: Installation;
let effects: Effects;
let model: Model;
const agents: AgentPart[] = [];

beforeAll(async () => {
  effects = openEffects();
  model = await startModel();
  installation = await createInstallation({ env: model.env });
  const first = await installation.startApi();
  const second = await installation.startApi();
  await installation.startWorker();
  await installation.startWorker();
  for (const url of [first.url, second.url, first.url]) agents.push(await installation.startAgent({ url }));
});
afterAll(async () => {
  await installation?.close();
  await model?.close();
  effects?.close();
});

test(
  'a minute of random kills',
  async () => {
    const seed = Number(wholeEnvironment().CHAOS_SEED ?? Math.floor(Math.random() * 2 ** 31));
    process.stdout.write(`soak: CHAOS_SEED=${seed}\n`);
    const random = createRandom(seed);
    const down = new Set<Part>();
    const until = Date.now() + SOAK_MS;
    const acknowledged = { tasks: new Set<string>(), commands: new Set<string>() };
    const kills: string[] = [];
    const done = new AbortController();

    const approving = approveAll(done.signal);
    await Promise.all([
      ...Array.from({ length: KILLERS }, (_, killer) => killAtRandom(createRandom(seed + 1 + killer))),
      ...Array.from({ length: LANES }, (_, lane) => work(lane)),
    ]);

    /** Each killer has its own numbers: what the work does cannot change whom it meets. */
    async function killAtRandom(chance: Random): Promise<void> {
      while (Date.now() < until) {
        await delay(chance.between(MIN_KILL_PAUSE_MS, MAX_KILL_PAUSE_MS));
        const victim = chance.pick(installation.parts);
        const downMs = chance.between(0, MAX_DOWN_MS);
        if (down.has(victim)) continue;
        down.add(victim);
        kills.push(`${new Date().toISOString()} ${victim.name} for ${downMs} ms`);
        await victim.kill();
        await delay(downMs);
        await victim.start();
        down.delete(victim);
      }
    }

    async function work(lane: number): Promise<void> {
      for (let turn = 0; Date.now() < until; turn++) {
        const name = `lane-${lane}-${turn}`;
        const agentIds = [random.pick(agents).agentId];
        if (random.next() < 0.5) {
          const { script } = effects.createQuick(name, random.between(0, MAX_COMMAND_MS));
          const body = { agentIds: agents.map((agent) => agent.agentId), act: { command: script } };
          const batch = await installation.call<BatchView>('POST', '/v1/commands', body);
          for (const { commandId } of batch.commands) acknowledged.commands.add(commandId);
          await untilRow('select finished_at is not null as ok from batches where id = :id', batch.batchId);
        } else {
          const scripts = Array.from(
            { length: random.between(1, 3) },
            (_, at) => effects.createQuick(`${name}-${at}`, random.between(0, MAX_COMMAND_MS)).script,
          );
          const isAuto = random.next() < 0.5;
          const task = await installation.call<TaskView>('POST', '/v1/tasks', {
            goal: model.plan(name, scripts),
            target: { agentId: agentIds[0] },
            ...(isAuto ? { mode: 'auto', preApproved: scripts } : {}),
          });
          acknowledged.tasks.add(task.id);
          // A lane goes on when its task is decided and on its way, not when it has ended: kills meet all stages.
          await untilRow('select step_no > 0 as ok from tasks where id = :id', task.id);
        }
      }
    }

    /** Wait, but not beyond the minute: what is late is waited for at the end. */
    async function untilRow(sql: string, id: string): Promise<void> {
      while (Date.now() < until) {
        const [row] = await query<{ ok: boolean }>(installation.db, sql, { id });
        if (row?.ok) return;
        await delay(50);
      }
    }

    for (const part of installation.parts) await part.start();
    const story = (): string => `CHAOS_SEED=${seed}\n${kills.join('\n')}`;
    try {
      await waitUntilQuiet(installation, { timeoutMs: QUIET_TIMEOUT_MS });
    } catch (error) {
      throw new Error(`${story()}\n${String(error)}`, { cause: error });
    } finally {
      done.abort();
      await approving;
    }
    expect(await findViolations(installation, effects), story()).toEqual([]);
    expect(await findLost(acknowledged), story()).toEqual([]);
    const facts = await query<{ state: string; count: number }>(
      installation.db,
      `select state, count(*) as count from commands group by state order by state`,
    );
    process.stdout.write(
      `soak: ${kills.length} kills, ${acknowledged.tasks.size} tasks, commands ${JSON.stringify(facts)}\n`,
    );
    expect(await findUnexplained(kills), story()).toEqual([]);
  },
  SOAK_MS + QUIET_TIMEOUT_MS + 60_000,
);

/** Approve whatever waits, as an operator with nothing else to do. */
async function approveAll(signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    const open = await query<{ id: string; step: number; digest: string }>(
      installation.db,
      `select t.id, s.step_no as step, s.batch_digest as digest from tasks t
       join steps s on s.task_id = t.id and s.run_no = t.run_no and s.step_no = t.step_no
       where t.ended_at is null and s.decision is null limit 20`,
    );
    for (const { id, step, digest } of open) {
      const body = { decision: 'approve', step, digest };
      await installation.call('POST', `/v1/tasks/${id}/decide`, body);
    }
    await delay(APPROVER_PAUSE_MS, undefined, { signal }).catch(() => undefined);
  }
}

/** P4: what was acknowledged is there. */
async function findLost(acknowledged: { tasks: Set<string>; commands: Set<string> }): Promise<string[]> {
  const tasks = await query<{ id: string }>(installation.db, 'select id from tasks');
  const commands = await query<{ id: string }>(installation.db, 'select command_id as id from commands');
  const known = new Set([...tasks, ...commands].map((row) => row.id));
  return [...acknowledged.tasks, ...acknowledged.commands].filter((id) => !known.has(id));
}

/** Only an agent that was killed may have lost an outcome; with no agent killed there is no `unknown`. */
async function findUnexplained(kills: readonly string[]): Promise<unknown[]> {
  const rows = await query<{ command_id: string; agent_id: string; state: string; reason: string | null }>(
    installation.db,
    `select command_id, agent_id, state, reason from commands where state <> 'succeeded'`,
  );
  return rows.filter(
    (row) =>
      row.state !== 'unknown' ||
      row.reason !== 'agent_restarted' ||
      !kills.some((kill) => kill.includes(` ${row.agent_id} `)),
  );
}
