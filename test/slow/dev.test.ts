/** `npm start`: started, stopped by Ctrl-C, started again; given up while it starts; given a server that is none. */

import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { type AddressInfo, createServer as createTcpServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { createApiClient } from '../../client/api-client.ts';
import { listAgentsRoute } from '../../contracts/agent-routes.ts';
import { loginRoute } from '../../contracts/auth.ts';
import { createTaskRoute, getTaskRoute } from '../../contracts/task-routes.ts';
import { type SteelthreadProcess, startSteelthread } from '../e2e/steelthread-process.ts';

const READY_TIMEOUT_MS = 90_000;
const STOP_TIMEOUT_MS = 60_000;

let home = '';

beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'dev-test-'));
});

afterEach(() => rmSync(home, { recursive: true, force: true }));

function startDev(listen: string): SteelthreadProcess {
  return startSteelthread(['dev'], { cwd: home, env: { STEELTHREAD_HOME: home, LISTEN: listen } });
}

async function stop(dev: SteelthreadProcess): Promise<void> {
  dev.signal('SIGINT');
  expect(await dev.end(STOP_TIMEOUT_MS), dev.stdout).toBe(0);
  const stopped = [...dev.stdout.matchAll(/(\S+) stopped$/gm)].map(([, name]) => name);
  expect(stopped).toEqual(['agent', 'worker', 'api', 'Temporal', 'PostgreSQL']);
}

async function readyUrl(dev: SteelthreadProcess): Promise<string> {
  await dev.waitFor(/Stop\s+Ctrl-C/, READY_TIMEOUT_MS);
  return (await dev.waitFor(/API\s+(http:\S+)/, 1_000))[1] ?? '';
}

it(
  'shows the generated password once, keeps its data, and evades a port that is taken',
  async () => {
    const first = startDev('0:steel');
    const url = await readyUrl(first);
    const password = (await first.waitFor(/Password\s+(\S+)/, 1_000))[1] ?? '';
    const body = { username: 'admin', password };
    const { accessToken } = await createApiClient({ url }).call(loginRoute, { body });
    const api = createApiClient({ url, token: accessToken });
    const task = await api.call(createTaskRoute, { body: { goal: 'stay here', mode: 'manual' } });
    const agents = await api.call(listAgentsRoute, {});
    expect(agents.items).toMatchObject([{ id: 'local', status: 'online' }]);
    expect((await fetch(`${url}/docs`)).status).toBe(200);
    await stop(first);
    const apiLog = join(home, 'logs', 'api.log');
    expect(readFileSync(apiLog, 'utf8')).not.toContain(password);

    const blocker = createServer();
    await new Promise<void>((resolve) => blocker.listen(0, '127.0.0.1', resolve));
    const { port } = blocker.address() as AddressInfo;
    const second = startDev(`${port}:steel`);
    try {
      const nextUrl = await readyUrl(second);
      expect(new URL(nextUrl).port).not.toBe(String(port));
      expect(second.stdout).toContain(`port ${port} is taken`);
      expect(second.stdout).not.toContain(password);
      expect(existsSync(`${apiLog}.1`)).toBe(true);
      const again = createApiClient({ url: nextUrl, token: accessToken });
      expect(await again.call(getTaskRoute, { params: { taskId: task.id } })).toMatchObject({
        goal: 'stay here',
      });
      expect((await again.call(listAgentsRoute, {})).items).toMatchObject([
        { id: 'local', status: 'online' },
      ]);
      await stop(second);
    } finally {
      blocker.close();
    }
  },
  2 * (READY_TIMEOUT_MS + STOP_TIMEOUT_MS),
);

it('stops on Ctrl-C while Temporal is starting: what runs is ended, nothing more is started', async () => {
  const temporal = join(home, 'deaf-temporal');
  const asked = '[ "$1" = --version ] && echo temporal version 1.0.0 && exit';
  writeFileSync(temporal, `#!/bin/sh\n${asked}\necho up > '${home}/up'\nexec sleep 600\n`, { mode: 0o755 });
  const dev = startSteelthread(['dev'], {
    cwd: home,
    env: { STEELTHREAD_HOME: home, LISTEN: '0:steel', TEMPORAL_CLI_PATH: temporal },
  });
  await dev.waitFor(/PostgreSQL is ready/, READY_TIMEOUT_MS);
  await dev.waitFor(/temporal version 1\.0\.0/, READY_TIMEOUT_MS);
  dev.signal('SIGTERM');
  expect(await dev.end(STOP_TIMEOUT_MS), dev.stdout).toBe(130);
  expect(dev.stderr).toBe('Stopped.\n');
  expect(dev.stdout).toMatch(/PostgreSQL stopped\n$/);
  expect(dev.stdout).not.toMatch(/Temporal is ready|api is ready/);
}, 150_000);

it('stops on Ctrl-C while it asks a TEMPORAL_ADDRESS that says nothing, before it has started anything', async () => {
  const deaf = createTcpServer((socket) => socket.on('error', () => {}).resume());
  const heard = new Promise<void>((resolve) => deaf.once('connection', () => resolve()));
  await new Promise<void>((resolve) => deaf.listen(0, '127.0.0.1', resolve));
  const { port } = deaf.address() as AddressInfo;
  const dev = startSteelthread(['dev'], {
    cwd: home,
    env: { STEELTHREAD_HOME: home, LISTEN: '0:steel', TEMPORAL_ADDRESS: `127.0.0.1:${port}` },
  });
  try {
    await heard;
    dev.signal('SIGINT');
    expect(await dev.end(STOP_TIMEOUT_MS), dev.stdout).toBe(130);
    expect(dev.stderr).toBe('Stopped.\n');
    expect(dev.stdout).not.toContain('PostgreSQL');
  } finally {
    await new Promise((resolve) => deaf.close(resolve));
  }
}, 90_000);

it('says in a sentence that nothing is at TEMPORAL_ADDRESS', async () => {
  const dev = startSteelthread(['dev'], {
    cwd: home,
    env: { STEELTHREAD_HOME: home, LISTEN: '0:steel', TEMPORAL_ADDRESS: 'host.invalid:7233' },
  });
  expect(await dev.end(STOP_TIMEOUT_MS), dev.stdout).toBe(1);
  expect(dev.stderr).toMatch(/^TEMPORAL_ADDRESS: Temporal at host\.invalid:7233 .*\nFix: .*\n$/);
}, 90_000);
