/** PostgreSQL and Temporal, on private servers, go away in the middle and come back with what they had. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { loadConfig } from '../../config.ts';
import type { BatchView, CommandView } from '../../contracts/commands.ts';
import type { StepView, TaskView } from '../../contracts/tasks.ts';
import { query } from '../../db/database.ts';
import { migrateUp } from '../../db/migrate.ts';
import type { StackLog } from '../../stack/log-port.ts';
import { findFreePort } from '../../stack/ports.ts';
import { startPostgres } from '../../stack/postgres.ts';
import { startTemporal } from '../../stack/temporal.ts';
import type { TestCommand } from './effects.ts';
import { findViolations, waitUntilQuiet } from './invariants.ts';
import { untilEnded, untilProposed } from './run.ts';
import { openStage, type Stage } from './stage.ts';

/** A server of the stack that can be killed. */
interface Service {
  /** Polite end, as an administrator's restart. */
  stop(): Promise<void>;
  /** SIGKILL to the server's main process. */
  kill(): Promise<void>;
  start(): Promise<void>;
}

let home: string;
let databaseUrl = '';
let temporalAddress = '';
let postgres: Service;
let temporal: Service;
let stage: Stage;

beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), 'steelthread-services-'));
  postgres = await createPostgres();
  temporal = await createTemporal();
  await migrateUp(databaseUrl);
  stage = await openStage({ databaseUrl, temporalAddress });
});
afterAll(async () => {
  await stage?.close();
  await temporal?.stop();
  await postgres?.stop();
  await rm(home, { recursive: true, force: true });
});

interface Work {
  waiting: { task: TaskView; step: StepView };
  running: { task: TaskView; command: TestCommand };
  adHoc: { commandId: string; command: TestCommand };
}

let works = 0;

/** A task that waits for a decision, one whose command runs, and an ad-hoc command that runs: all acknowledged. */
async function beginWork(): Promise<Work> {
  const { installation, model, effects, agent } = stage;
  works += 1;
  const target = { agentId: agent.agentId };
  const first = await installation.call<TaskView>('POST', '/v1/tasks', {
    goal: model.plan(`waiting-${works}`, [effects.createQuick(`waiting-${works}`).script]),
    target,
  });
  const step = await untilProposed(stage, first.id, 1);
  const slow = effects.createWaiting();
  const second = await installation.call<TaskView>('POST', '/v1/tasks', {
    goal: model.plan(`running-${works}`, [slow.script]),
    target,
    mode: 'auto',
    preApproved: [slow.script],
  });
  const adHoc = effects.createWaiting();
  const batch = await installation.call<BatchView>('POST', '/v1/commands', {
    agentIds: [agent.agentId],
    act: { command: adHoc.script },
  });
  const commandId = batch.commands[0]?.commandId ?? '';
  await installation.until(
    () => installation.call<{ items: CommandView[] }>('GET', '/v1/commands?state=running'),
    (page) => page.items.length === 2 && page.items.every((item) => item.stdout.bytes > 0),
    'two running commands',
  );
  return {
    waiting: { task: first, step },
    running: { task: second, command: slow },
    adHoc: { commandId, command: adHoc },
  };
}

const approve = ({ task, step }: Work['waiting']) =>
  stage.installation.call<StepView>('POST', `/v1/tasks/${task.id}/decide`, {
    decision: 'approve',
    step: step.step,
    digest: step.digest,
  });

/** Everything acknowledged has completed, and each promise holds. */
async function expectAllCompleted(work: Work, pids: readonly number[]): Promise<void> {
  const { installation, effects } = stage;
  expect(await untilEnded(stage, work.waiting.task.id)).toMatchObject({ state: 'completed' });
  expect(await untilEnded(stage, work.running.task.id)).toMatchObject({ state: 'completed' });
  await waitUntilQuiet(installation);
  const { items } = await installation.call<{ items: CommandView[] }>('GET', '/v1/commands?limit=100');
  expect(items.filter((item) => item.state !== 'succeeded')).toEqual([]);
  for (const { commandId, command } of [work.adHoc]) {
    const stored = items.find((item) => item.commandId === commandId);
    expect(stored?.stdout).toMatchObject({ bytes: command.bytes, sha256: command.sha256 });
  }
  expect(await findViolations(installation, effects)).toEqual([]);
  expect(pidsOf()).toEqual(pids); // nobody died of it
}

const pidsOf = (): number[] => stage.installation.parts.map((part) => part.pid());

/** What a client hears while the database is away. */
async function statusOf(path: string): Promise<number> {
  const response = await fetch(`${stage.api.url}${path}`, { signal: AbortSignal.timeout(30_000) });
  await response.body?.cancel();
  return response.status;
}

/** A backend that is in the middle of a statement outlives its killed server, and holds the next one up. */
async function keepOneBackendBusy(): Promise<void> {
  const client = new pg.Client({ connectionString: databaseUrl });
  client.on('error', () => undefined);
  await client.connect();
  client
    .query('select count(*) from generate_series(1, 10000000) as n where n % 7 = 3')
    .catch(() => undefined);
  await stage.installation.until(
    () =>
      query(
        stage.installation.db,
        `select 1 from pg_stat_activity where state = 'active' and query like '%generate_series(1, 10000000)%' and pid <> pg_backend_pid()`,
      ),
    (rows) => rows.length === 1,
    'a busy backend',
  );
}

describe('PostgreSQL', () => {
  test.each(['stop', 'kill'] as const)(
    '%s and start in the middle: all acknowledged work completes',
    async (how) => {
      const work = await beginWork();
      const pids = pidsOf();
      if (how === 'kill') await keepOneBackendBusy();
      await postgres[how]();
      // Their results cannot be stored now: the agent keeps them.
      work.running.command.release();
      work.adHoc.command.release();
      await stage.installation.until(
        async () => stage.agent.lines.filter((line) => line.includes('"command_finished"')),
        (lines) => [work.adHoc.commandId].every((id) => lines.some((line) => line.includes(id))),
        'the command ends while the database is away',
      );
      await stage.installation.until(
        () => statusOf('/readyz'),
        (status) => status === 503,
        'not ready',
      );
      expect(await statusOf('/livez')).toBe(200);
      await postgres.start();
      await approve(work.waiting);
      await expectAllCompleted(work, pids);
    },
  );
});

describe('Temporal', () => {
  test.each(['stop', 'kill'] as const)(
    '%s and start in the middle: all acknowledged work completes',
    async (how) => {
      const work = await beginWork();
      const pids = pidsOf();
      await temporal[how]();
      // All of this is answered with 2xx while Temporal is away.
      work.running.command.release();
      work.adHoc.command.release();
      await approve(work.waiting);
      const quick = stage.effects.createQuick(`while-away-${how}`);
      const created = await stage.installation.call<TaskView>('POST', '/v1/tasks', {
        goal: stage.model.plan(`while-away-${how}`, [quick.script]),
        target: { agentId: stage.agent.agentId },
        mode: 'auto',
        preApproved: [quick.script],
      });
      // Decided and ad-hoc commands run without Temporal.
      await stage.installation.until(
        () =>
          stage.installation.call<{ items: CommandView[] }>(
            'GET',
            `/v1/commands?taskId=${work.waiting.task.id}`,
          ),
        (page) => page.items[0]?.state === 'succeeded',
        'the approved command runs while Temporal is away',
      );
      await temporal.start();
      expect(await untilEnded(stage, created.id)).toMatchObject({ state: 'completed' });
      await expectAllCompleted(work, pids);
    },
  );
});

/** Hears the process id that the stack logs. */
function hearPid(event: string): { log: StackLog; pid(): number } {
  let pid = 0;
  const log: StackLog = {
    info: (fields) => {
      if (fields.event === event) pid = Number(fields.pid);
    },
    warn: () => undefined,
  };
  return { log, pid: () => pid };
}

async function createPostgres(): Promise<Service> {
  const { log, pid } = hearPid('postgres_started');
  const port = await findFreePort();
  const open = () => startPostgres({ log, homeDir: home, port });
  let server = await open();
  databaseUrl = server.url;
  return {
    stop: () => server.stop(),
    async kill() {
      process.kill(pid(), 'SIGKILL');
      await server.done;
    },
    async start() {
      server = await open();
      expect(server.url).toBe(databaseUrl);
    },
  };
}

async function createTemporal(): Promise<Service> {
  const { log, pid } = hearPid('temporal_started');
  const config = loadConfig('cli');
  const port = await findFreePort();
  const open = () =>
    startTemporal({
      log,
      homeDir: home,
      port,
      ui: false,
      cliPath: config.temporalCliPath,
      cacheDir: config.steelthreadCache,
    });
  let server = await open();
  temporalAddress = server.address;
  return {
    stop: () => server.stop(),
    async kill() {
      process.kill(pid(), 'SIGKILL');
      await server.done;
    },
    async start() {
      server = await open();
      expect(server.address).toBe(temporalAddress);
    },
  };
}
