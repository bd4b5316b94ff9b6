/** What somebody may not do by hand, done by a clock, a token of few scopes, a part of a task, a form, a name of a zone. */
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import type { ApiTokenScope } from '../../contracts/scopes.ts';
import { createPasswordHasher } from '../../domain/identity/passwords.ts';
import { assertTiming } from '../../domain/schedules/check.ts';
import { dueTimesBetween, nextDueTimes } from '../../domain/schedules/due-times.ts';
import { MAX_OWN_SCHEDULES } from '../../domain/schedules/own-bounds.ts';
import { wallClockOf } from '../../domain/schedules/zone-time.ts';
import { classifyAddress } from '../../outbound/addresses.ts';
import { addAccount, userPassword } from '../support/second-factor.ts';
import { type System, startSystem } from '../support/system.ts';
import { deskOf } from '../support/tasks.ts';

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;

let system: System;
let ananta: string;
let mallory: string;
beforeAll(async () => {
  system = await startSystem({ worker: false });
  const port = system.api.addresses.find(({ profile }) => profile === 'ananta')?.port ?? 0;
  ananta = `http://127.0.0.1:${port}`;
  const passwords = createPasswordHasher({ cost: 4 });
  await addAccount({ db: system.api.parts.db, deps: { passwords } } as never, 'mallory', { role: 'user' });
  const login = { username: 'mallory', password: userPassword };
  mallory = (await system.call<{ accessToken: string }>('POST', '/v1/auth/login', login)).accessToken;
});
afterAll(() => system.close());

async function ask(
  method: string,
  path: string,
  body?: unknown,
  as = system.token(),
): Promise<[number, string]> {
  const { status, body: answer } = await system.request<{ id?: string }>(method, path, body, { token: as });
  return [status, answer?.id ?? ''];
}
const statusOf = async (...request: Parameters<typeof ask>): Promise<number> => (await ask(...request))[0];
const tokenOf = async (...scopes: ApiTokenScope[]): Promise<string> =>
  (await system.call<{ token: string }>('POST', '/v1/auth/tokens', { name: 'few', scopes })).token;
const onAnanta = (path: string, body: unknown, as: string): Promise<number> =>
  fetch(`${ananta}${path}`, {
    method: 'POST',
    headers: { Authorization: `Bearer ${as}`, 'Content-Type': 'application/json' },
    body: JSON.stringify(body),
  }).then(async (reply) => {
    await reply.text();
    return reply.status;
  });

const ofTask = (task: object, more: object = {}) => ({
  name: 'by the clock',
  timing: { kind: 'interval', everyMs: HOUR_MS },
  action: { kind: 'task', task: { goal: 'look around', mode: 'manual', ...task } },
  target: { any: true },
  ...more,
});

describe('a token that may not decide', () => {
  it('lets nothing run undecided in the name of its owner, who may', async () => {
    const few = await tokenOf('tasks');
    const both = await tokenOf('tasks', 'decide');
    const auto = { goal: 'run a saved command', mode: 'auto' };
    expect(await statusOf('POST', '/v1/tasks', auto, few)).toBe(403);
    expect(await statusOf('POST', '/v1/tasks', { ...auto, mode: 'supervised' }, few)).toBe(201);
    expect(await statusOf('POST', '/v1/tasks', auto, both)).toBe(201);
    expect(await statusOf('POST', '/v1/schedules', ofTask({ mode: 'auto' }), few)).toBe(403);
    expect(await statusOf('POST', '/v1/schedules', ofTask({ mode: 'auto' }), both)).toBe(201);
    const start = '/tasks/autopilot/start';
    expect(await onAnanta(start, { security_level: 'aggressive' }, few)).toBe(403);
    expect(await onAnanta(start, { security_level: 'safe' }, few)).toBe(200);
    expect(await onAnanta('/tasks/autopilot/stop', {}, few)).toBe(200);
    // Whose owner may not decide either uses nobody's right: a person decides.
    const own = { name: 'few', scopes: ['tasks'] };
    const theirs = await system.call<{ token: string }>('POST', '/v1/auth/tokens', own, { token: mallory });
    expect(await statusOf('POST', '/v1/tasks', auto, theirs.token)).toBe(201);
  });

  it('does not let commands run again that were paused', async () => {
    const few = await tokenOf('tasks');
    const act = { kind: 'command', act: { command: 'true' } };
    const { agentId } = await system.enrol('paused-agent');
    const body = { ...ofTask({}), action: act, target: { agentIds: [agentId] }, paused: true };
    const [, id] = await ask('POST', '/v1/schedules', body);
    expect(await statusOf('POST', `/v1/schedules/${id}/resume`, {}, few)).toBe(403);
    expect(await statusOf('POST', `/v1/schedules/${id}/trigger`, {}, few)).toBe(403);
    expect(await statusOf('POST', `/v1/schedules/${id}/resume`, {})).toBe(200);
    expect(await statusOf('POST', `/v1/schedules/${id}/pause`, {}, few)).toBe(200);
  });
});

describe('a clock', () => {
  it('makes no more tasks for a user than requests would', async () => {
    const make = (more: object) => statusOf('POST', '/v1/schedules', ofTask({}, more), mallory);
    const second = { from: 0, to: 59 };
    expect(await make({ timing: { kind: 'interval', everyMs: 59_000 } })).toBe(422);
    expect(await make({ timing: { kind: 'calendar', calendars: [{ second: [second] }] } })).toBe(422);
    const agentIds = Array.from({ length: 21 }, (_, index) => `agent-${index}`);
    expect(await make({ target: { agentIds } })).toBe(422);
    for (let count = 0; count < MAX_OWN_SCHEDULES; count++) expect(await make({})).toBe(201);
    expect(await make({})).toBe(409);
    const [, id] = await ask('POST', '/v1/schedules', ofTask({}));
    const seen = await system.call<{ items: { id: string }[] }>('GET', '/v1/schedules?limit=1', undefined, {
      token: mallory,
    });
    const own = seen.items[0]?.id ?? '';
    const dense = { timing: { kind: 'interval', everyMs: 1_000 } };
    expect(await statusOf('PATCH', `/v1/schedules/${own}`, dense, mallory)).toBe(422);
    expect(await statusOf('PATCH', `/v1/schedules/${id}`, dense)).toBe(200);
  });

  it('has no more runs wait than may, however many backfills are asked for', async () => {
    const timing = { kind: 'interval', everyMs: 1_000 };
    const [, id] = await ask('POST', '/v1/schedules', ofTask({}, { timing, paused: true }));
    const to = new Date(Math.floor(Date.now() / 1_000) * 1_000 - 1_000);
    const span = { from: new Date(to.getTime() - 499_000).toISOString(), to: to.toISOString() };
    const answers: number[] = [];
    for (let count = 0; count < 3; count++) {
      answers.push(await statusOf('POST', `/v1/schedules/${id}/backfill`, span));
    }
    expect(answers[0]).toBeLessThan(300);
    expect(answers).toEqual([answers[0], answers[0], 422]);
  });

  it('is one for a zone, however its name is spelled', () => {
    const real = Intl.DateTimeFormat;
    const construct = vi.fn((target: typeof real, args: Parameters<typeof real>) => new target(...args));
    vi.stubGlobal('Intl', { ...Intl, DateTimeFormat: new Proxy(real, { construct }) });
    const name = 'america/argentina/buenos_aires';
    for (let index = 0; index < 64; index++) {
      const letters = [...name].map((letter, at) => ((index >> at) & 1 ? letter.toUpperCase() : letter));
      expect(wallClockOf(letters.join(''), 0)).toBe(-3 * HOUR_MS);
    }
    vi.unstubAllGlobals();
    expect(construct).toHaveBeenCalledTimes(1);
  });

  it('tells the next times of many dense calendars without making those of the whole day', () => {
    const all = (to: number) => [{ from: 0, to, step: 1 }];
    const calendar = { second: all(59), minute: all(59), hour: all(23) };
    const timing = {
      kind: 'calendar' as const,
      calendars: Array(10).fill(calendar),
      timeZone: 'Europe/Berlin',
    };
    const span = { timing, startAt: null, endAt: null };
    const noon = Date.UTC(2026, 5, 1, 12, 30, 15);
    const sets = vi.spyOn(Set.prototype, 'add');
    const next = nextDueTimes(span, noon, 3);
    const added = sets.mock.calls.length;
    sets.mockRestore();
    expect(added).toBeLessThan(10_000);
    expect(next.map((time) => time.getTime() - noon)).toEqual([1_000, 2_000, 3_000]);
    expect(dueTimesBetween(span, noon, noon + DAY_MS, 100_000).times).toHaveLength(86_400);
  });

  it('takes years to come', () => {
    for (const year of [2027, 2100]) {
      const calendars = [{ second: [0], minute: [0], hour: [9], dayOfMonth: [1], month: [1], year: [year] }];
      const span = {
        timing: { kind: 'calendar' as const, calendars, timeZone: 'UTC' },
        startAt: null,
        endAt: null,
      };
      expect(() => assertTiming(span)).not.toThrow();
      const now = Date.UTC(2026, 0, 1);
      expect(nextDueTimes(span, now, 2)).toEqual([new Date(Date.UTC(year, 0, 1, 9))]);
    }
  });
});

describe('what belongs to others', () => {
  it('gets no parts from whoever may not see it', async () => {
    const [, parent] = await ask('POST', '/v1/tasks', { goal: 'of the admin', mode: 'manual' });
    const part = { goal: 'already done', mode: 'manual', parentTaskId: parent };
    expect(await statusOf('POST', '/v1/tasks', part, mallory)).toBe(403);
    const wish = { description: 'already done', parent_task_id: parent };
    expect(await onAnanta('/tasks', wish, mallory)).toBe(403);
    // A task of another installation is nobody's here.
    const elsewhere = { ...part, parentTaskId: 'task-of-another-hub' };
    expect(await statusOf('POST', '/v1/tasks', elsewhere, mallory)).toBe(201);
    expect(await statusOf('POST', '/v1/tasks', part)).toBe(201);
  });

  it('shows its secrets to nobody under any of their usual names', async () => {
    const canary = 'canary-of-the-configuration';
    const config = {
      llm_config: { api_keys: [canary], headers: { Authorization: `Bearer ${canary}` } },
      credentials: { user: canary, pass: canary },
      store: { url: `postgres://app:${canary}@db.example/x`, private_key: canary, max_tokens: 4096 },
    };
    expect(await onAnanta('/config', config, system.token())).toBe(200);
    const read = async (as: string) => {
      const reply = await fetch(`${ananta}/config`, { headers: { Authorization: `Bearer ${as}` } });
      return (await reply.json()) as { data: Record<string, unknown> };
    };
    const shown = await read(mallory);
    expect(shown.data).toMatchObject({ store: { max_tokens: 4096 } });
    expect(JSON.stringify([shown, await read(system.token())])).not.toContain(canary);
    const rows = await deskOf(system).sql(`select value from settings where namespace = 'hub'`);
    expect(JSON.stringify(rows)).not.toContain(canary);
    // Sent back as it was shown, it stays.
    expect(await onAnanta('/config', shown.data, system.token())).toBe(200);
    expect(await read(mallory)).toEqual(shown);
  });

  it('is not reached by an address that only looks public', () => {
    expect(classifyAddress('168.63.129.16').class).toBe('reserved');
    expect(classifyAddress('::ffff:168.63.129.16').class).toBe('translated');
  });
});

it('asking for approval without end does not fill the audit trail', async () => {
  for (let count = 0; count < 25; count++) {
    expect(await onAnanta('/approve', { cmd: `rm -rf /${count}` }, mallory)).toBe(200);
  }
  const rows = await deskOf(system).sql<{ count: string }>(
    `select count(*) as count from audit_events where action = 'approval.answer' and outcome = 'denied'`,
  );
  expect(Number(rows[0]?.count)).toBe(20);
});
