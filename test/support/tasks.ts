/** Tasks as a test drives them over HTTP, with a look at the rows behind them. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { v7 as newId } from 'uuid';
import type { ActRequest } from '../../contracts/commands.ts';
import type { StepView, TaskView, TimelineItem } from '../../contracts/tasks.ts';
import { taskWorkflowId } from '../../contracts/workflow-io.ts';
import { insertUser, type UserRole } from '../../db/users.ts';
import { canonicalName } from '../../domain/identity/canonical-name.ts';
import { createPasswordHasher } from '../../domain/identity/passwords.ts';
import type { Reply, RequestOptions, System } from './system.ts';

const USER_PASSWORD = 'Correct-Horse-8';
/** The lowest cost bcrypt knows. */
const TEST_HASH_COST = 4;

export interface Problem {
  code: string;
  detail?: string;
}

export interface Desk {
  create(body: Record<string, unknown>, options?: RequestOptions): Promise<TaskView>;
  get(id: string): Promise<TaskView>;
  steps(id: string): Promise<StepView[]>;
  step(id: string, no: number): Promise<StepView>;
  /** Waits until the step is proposed and undecided. */
  untilProposed(id: string, no: number): Promise<StepView>;
  untilEnded(id: string, timeoutMs?: number): Promise<TaskView>;
  /** Waits until the first command of the step is in this state. */
  untilCommand(id: string, no: number, state: string, timeoutMs?: number): Promise<StepView>;
  /** Any decision; the answer whatever its status. */
  decide(
    id: string,
    body: Record<string, unknown>,
    options?: RequestOptions,
  ): Promise<Reply<StepView & Problem>>;
  /** Waits for the proposal and approves it. @returns the step as it was proposed */
  approve(id: string, no: number): Promise<StepView>;
  edit(id: string, step: StepView, act: ActRequest, reason?: string): Promise<StepView>;
  cancel(id: string, reason?: string): Promise<TaskView>;
  timeline(id: string): Promise<TimelineItem[]>;
  /** Rows of a query on the database of the system. */
  sql<Row>(text: string, bindings?: Record<string, unknown>): Promise<Row[]>;
  /** Audit rows that name the task or one of its steps, oldest first. */
  audit(id: string): Promise<{ action: string; principal: string; outcome: string }[]>;
  /** How many batches and commands the task has. */
  counts(id: string): Promise<{ batches: number; commands: number }>;
  workflowId(id: string): string;
  /** A person with this role and a session. @returns the access token */
  addUser(role: UserRole, username: string): Promise<string>;
}

export function deskOf(system: System): Desk {
  const passwords = createPasswordHasher({ cost: TEST_HASH_COST });
  const desk: Desk = {
    create: (body, options) => system.call('POST', '/v1/tasks', body, options),
    get: (id) => system.call('GET', `/v1/tasks/${id}`),
    steps: async (id) => (await system.call<{ items: StepView[] }>('GET', `/v1/tasks/${id}/steps`)).items,
    async step(id, no) {
      const found = (await desk.steps(id)).find((candidate) => candidate.step === no);
      if (found === undefined) throw new Error(`task ${id} has no step ${no}`);
      return found;
    },
    async untilProposed(id, no) {
      const task = await system.untilTask(
        id,
        (row) => row.endedAt !== null || (row.state === 'awaiting_decision' && row.step === no),
      );
      if (task.endedAt !== null) throw new Error(`the task has ended: ${JSON.stringify(task.result)}`);
      return desk.step(id, no);
    },
    untilEnded: (id, timeoutMs) => system.untilTask(id, (task) => task.endedAt !== null, timeoutMs),
    async untilCommand(id, no, state, timeoutMs) {
      const isThere = (steps: StepView[]) =>
        steps.find((candidate) => candidate.step === no)?.commands[0]?.state === state;
      await system.until(() => desk.steps(id), isThere, `step ${no} ${state}`, timeoutMs);
      return desk.step(id, no);
    },
    decide: (id, body, options) => system.request('POST', `/v1/tasks/${id}/decide`, body, options),
    async approve(id, no) {
      const step = await desk.untilProposed(id, no);
      const body = { decision: 'approve', step: no, digest: step.digest };
      await system.call('POST', `/v1/tasks/${id}/decide`, body);
      return step;
    },
    edit: (id, step, act, reason) =>
      system.call('POST', `/v1/tasks/${id}/decide`, {
        decision: 'edit',
        step: step.step,
        digest: step.digest,
        act,
        ...(reason === undefined ? {} : { reason }),
      }),
    cancel: (id, reason) =>
      system.call('POST', `/v1/tasks/${id}/cancel`, reason === undefined ? {} : { reason }),
    timeline: async (id) =>
      (await system.call<{ items: TimelineItem[] }>('GET', `/v1/tasks/${id}/timeline`)).items,
    async sql<Row>(text: string, bindings: Record<string, unknown> = {}) {
      const { rows } = await system.api.parts.db.raw<{ rows: Row[] }>(text, bindings as never);
      return rows;
    },
    audit: (id) =>
      desk.sql(
        `select action, principal_name as principal, outcome from audit_events
         where target_id = :id or target_id like :id || '/%' order by id`,
        { id },
      ),
    async counts(id) {
      const [row] = await desk.sql<{ batches: number; commands: number }>(
        `select (select count(*)::int from batches where task_id = cast(:id as uuid)) as batches,
                (select count(*)::int from commands where task_id = cast(:id as uuid)) as commands`,
        { id },
      );
      return row ?? { batches: 0, commands: 0 };
    },
    workflowId: (id) => taskWorkflowId(id, 1),
    async addUser(role, username) {
      await insertUser(system.api.parts.db, {
        id: newId(),
        username,
        canonicalName: canonicalName(username),
        email: null,
        canonicalEmail: null,
        role,
        passwordHash: await passwords.hash(USER_PASSWORD),
        mustChangePassword: false,
      });
      const { accessToken } = await system.call<{ accessToken: string }>('POST', '/v1/auth/login', {
        username,
        password: USER_PASSWORD,
      });
      return accessToken;
    },
  };
  return desk;
}

/** A file that commands write a line to when they start; the system never reads it. */
export interface EffectFile {
  path: string;
  /** A command that leaves this line. */
  mark(line: string): string;
  lines(): string[];
  close(): void;
}

export function openEffectFile(): EffectFile {
  const folder = mkdtempSync(join(tmpdir(), 'steelthread-effect-'));
  const path = join(folder, 'effects');
  writeFileSync(path, '');
  return {
    path,
    mark: (line) => `echo ${line} >> ${path}`,
    lines: () => readFileSync(path, 'utf8').split('\n').filter(Boolean),
    close: () => rmSync(folder, { recursive: true, force: true }),
  };
}
