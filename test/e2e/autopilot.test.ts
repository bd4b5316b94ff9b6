/** The autopilot over HTTP, Temporal and a real agent: a manual task of the active team goes on by itself. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type System, startSystem } from '../support/system.ts';
import { type Desk, deskOf } from '../support/tasks.ts';

interface Success<Data> {
  status: string;
  data: Data;
}
interface Status {
  running: boolean;
  dispatched_count: number;
  completed_count: number;
  open_count: number;
  dispatched: number;
  reason: string;
}

let system: System;
let desk: Desk;

beforeAll(async () => {
  system = await startSystem();
  desk = deskOf(system);
  await system.startAgent({ agentId: 'worker-1' });
});
afterAll(() => system.close());

const data = async <Data>(method: string, path: string, body?: unknown): Promise<Data> =>
  (await system.call<Success<Data>>(method, path, body)).data;

it('runs manual tasks of the active team, under decisions as always', async () => {
  const template = await data<{ id: string }>('POST', '/templates', {
    name: 'Runner',
    prompt_template: 'For {{team_name}}: run `{{task_description}}` now. {{team_goal}}',
  });
  const team = await data<{ id: string }>('POST', '/teams', { name: 'Blue', is_active: true });
  const created = await data<{ id: string }>('POST', '/tasks', {
    id: 'of-the-team',
    title: 'Say it',
    description: 'echo it is all ok',
    template_id: template.id,
    team_id: team.id,
  });
  const other = await data<{ id: string }>('POST', '/tasks', {
    id: 'of-nobody',
    description: 'run `echo no`',
  });
  expect(await desk.get(created.id)).toMatchObject({
    mode: 'manual',
    step: 0,
    goal: 'For Blue: run `echo it is all ok` now.',
  });

  const started = await data<Status>('POST', '/tasks/autopilot/start', { interval_seconds: 1 });
  expect(started).toMatchObject({
    running: true,
    security_level: 'safe',
    circuit_breakers: { open_count: 0 },
  });
  const proposed = await desk.approve(created.id, 1); // nobody asked for the proposal
  expect(proposed).toMatchObject({ text: 'echo it is all ok', origin: 'model' });
  expect(await desk.untilEnded(created.id)).toMatchObject({ state: 'completed', mode: 'supervised' });

  const status = await system.until(
    () => data<Status>('GET', '/tasks/autopilot/status'),
    ({ completed_count: completed }) => completed === 1,
  );
  expect(status).toMatchObject({
    dispatched_count: 1,
    open_count: 0,
    effective_security_policy: { level: 'safe' },
  });
  expect(await data('POST', '/tasks/autopilot/stop')).toMatchObject({ running: false });
  expect(await data('POST', '/tasks/autopilot/tick')).toMatchObject({
    dispatched: 0,
    reason: 'no_candidates',
  });
  expect(await desk.get(other.id)).toMatchObject({ mode: 'manual', step: 0 });
  expect(await data('GET', '/tasks/autopilot/circuits')).toEqual({
    open_count: 0,
    open_workers: [],
    failure_streak: {},
  });
  expect(await data('POST', '/tasks/autopilot/circuits/reset', { worker_url: 'http://worker:1' })).toEqual({
    reset: 0,
    worker_url: 'http://worker:1',
    circuit_breakers: { open_count: 0, open_workers: [], failure_streak: {} },
  });
});

it('is refused to whoever is no administrator', async () => {
  const token = await desk.addUser('operator', 'olga');
  for (const path of ['start', 'stop', 'tick', 'circuits/reset']) {
    const reply = await system.request('POST', `/tasks/autopilot/${path}`, {}, { token });
    expect(reply).toMatchObject({ status: 403, body: { status: 'error', message: 'forbidden' } });
  }
  expect((await system.request('GET', '/tasks/autopilot/status', undefined, { token })).status).toBe(200);
  const wrong = await system.request('POST', '/tasks/autopilot/start', { max_concurrency: 0 });
  expect(wrong).toMatchObject({ status: 422, body: { message: 'validation_failed' } });
  const missing = await system.request('POST', '/tasks/autopilot/start', { team_id: 'nobody' });
  expect(missing).toMatchObject({ status: 404, body: { message: 'not_found' } });
});
