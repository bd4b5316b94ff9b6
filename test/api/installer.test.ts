/** Installer packages: what is in them, that their agents run, and that no name can run anything. */
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { AgentView } from '../../contracts/agents.ts';
import { exited } from '../agent/agent-fixture.ts';
import { type System, startSystem } from '../support/system.ts';

let system: System;
let folder: string;
let running: ChildProcess[] = [];
beforeAll(async () => {
  system = await startSystem({ worker: false });
});
afterAll(() => system.close());
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'steelthread-installer-'));
});
afterEach(async () => {
  for (const child of running) if (child.exitCode === null) child.kill('SIGTERM');
  await Promise.all(running.map(exited));
  running = [];
  rmSync(folder, { recursive: true, force: true });
});

const post = (path: string, body?: unknown, headers: Record<string, string> = {}): Promise<Response> =>
  fetch(`${system.url}${path}`, {
    method: 'POST',
    headers: {
      authorization: `Bearer ${system.token()}`,
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      ...headers,
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });

/** The package of a reply, unpacked; its directory. */
async function unpack(reply: Response): Promise<string> {
  expect(reply.status).toBe(200);
  expect(reply.headers.get('content-type')).toBe('application/zip');
  const file = join(folder, 'package.zip');
  writeFileSync(file, Buffer.from(await reply.arrayBuffer()));
  execFileSync('unzip', ['-q', '-o', file, '-d', folder]);
  return join(folder, 'steelthread-agent');
}

const configOf = (directory: string): Record<string, string> =>
  JSON.parse(readFileSync(join(directory, 'config.json'), 'utf8'));

function run(directory: string, environment: Record<string, string> = {}) {
  const home = join(folder, 'home');
  const child = spawn(join(directory, 'run.sh'), ['--debug'], {
    env: { PATH: process.env.PATH, STEELTHREAD_AGENT_HOME: home, ...environment },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let text = '';
  child.stderr.on('data', (bytes: Buffer) => {
    text += bytes.toString();
  });
  running.push(child);
  return Object.assign(child, { home, log: () => text });
}

const untilOnline = (hostname: string, isEnough: (agent: AgentView) => boolean = () => true) =>
  system.until(
    async () => {
      const { items } = await system.call<{ items: AgentView[] }>('GET', '/v1/agents?limit=200');
      return items.find((agent) => agent.hostname === hostname && agent.status === 'online');
    },
    (agent) => agent !== undefined && isEnough(agent),
    `${hostname} to be online`,
  ) as Promise<AgentView>;

async function outputOf(agentId: string, script: string): Promise<string> {
  const made = await system.call<{ commands: { commandId: string }[] }>('POST', '/v1/commands', {
    agentIds: [agentId],
    act: { command: script },
  });
  const id = made.commands[0]?.commandId ?? '';
  await system.until(
    // The API may be on its way to a restart.
    () => system.call<{ state: string }>('GET', `/v1/commands/${id}`).catch(() => ({ state: 'away' })),
    ({ state }) => state === 'succeeded',
    'the command',
  );
  const reply = await fetch(`${system.url}/v1/commands/${id}/output/stdout`, {
    headers: { authorization: `Bearer ${system.token()}` },
  });
  return reply.text();
}

describe('a package', () => {
  it('of Python: enrols with its own token, runs commands, and survives its own kill', async () => {
    const reply = await post('/api/v1/installer/create-python/', {
      agent_name: 'python-1',
      tags: ['edge', 'py'],
      api_token: 'the-token-of-the-client',
    });
    expect(reply.headers.get('content-disposition')).toBe(
      'attachment; filename="steelthread-agent-python.zip"',
    );
    expect(reply.headers.get('cache-control')).toBe('no-store');
    const directory = await unpack(reply);
    expect(readdirSync(directory).sort()).toEqual(
      [
        ...['README.txt', 'com.steelthread.agent.plist', 'config.json', 'find-runtime.ps1', 'install.conf'],
        ...[
          'install.ps1',
          'install.sh',
          'requirements.txt',
          'run.ps1',
          'run.sh',
          'steelthread-agent.service',
        ],
        ...['steelthread_agent.py', 'windows-service.ps1'],
      ].sort(),
    );
    expect(readFileSync(join(directory, 'requirements.txt'))).toHaveLength(0);
    expect(statSync(join(directory, 'config.json')).mode & 0o777).toBe(0o600);
    expect(statSync(join(directory, 'install.sh')).mode & 0o777).toBe(0o755);
    expect(configOf(directory)).toEqual({
      STEELTHREAD_URL: system.url,
      STEELTHREAD_ENROL_TOKEN: expect.stringMatching(/^ste_/),
      STEELTHREAD_AGENT_NAME: 'python-1',
    });

    const first = run(directory);
    const agent = await untilOnline('python-1', ({ metrics }) => metrics !== null);
    expect(agent).toMatchObject({ version: '0.1.0-python', tags: ['edge', 'py'], delivery: 'websocket' });
    expect(agent.metrics?.memoryTotalBytes).toBeGreaterThan(0);
    expect(await outputOf(agent.id, "printf 'caf\\303\\251'")).toBe('café');
    expect(first.log()).not.toContain(configOf(directory).STEELTHREAD_ENROL_TOKEN);

    first.kill('SIGKILL');
    await exited(first);
    const second = run(directory);
    await system.until(
      async () => second.log(),
      (text) => text.includes('"connected"'),
    );
    expect(await outputOf(agent.id, 'echo again')).toBe('again\n');

    // Its token was good for one machine.
    const other = run(directory, { STEELTHREAD_AGENT_HOME: join(folder, 'other') });
    expect(await exited(other)).toBe(1);
    expect(other.log()).toContain('refused the enrolment');
  });

  it('of Python: a command outlives the death of the bridge, is started once, and loses no output', async () => {
    const directory = await unpack(await post('/v1/installers', { agentName: 'python-2' }));
    run(directory);
    const agent = await untilOnline('python-2');
    const [go, effect] = [join(folder, 'go'), join(folder, 'effect')];
    const script = `echo x >> ${effect}; seq 20000; while [ ! -e ${go} ]; do sleep 0.05; done; echo end`;
    const output = outputOf(agent.id, script);
    await system.until(
      async () => existsSync(effect),
      (isThere) => isThere,
    );
    await system.restartApi();
    writeFileSync(go, '');
    const text = await output;
    expect(text.split('\n')).toHaveLength(20_002);
    expect(text.endsWith('20000\nend\n')).toBe(true);
    expect(readFileSync(effect, 'utf8')).toBe('x\n');
  });

  it('of JavaScript: the same, and it says that it is no .exe', async () => {
    const reply = await post('/api/v1/installer/create', { agent_name: 'javascript-1', debug: true });
    expect(reply.headers.get('x-installer-format')).toContain('exe=not-available');
    expect(Date.parse(reply.headers.get('x-enrolment-expires') ?? '')).toBeGreaterThan(Date.now());
    const directory = await unpack(reply);
    expect(readdirSync(directory)).toContain('steelthread-agent.mjs');
    expect(readdirSync(directory)).not.toContain('steelthread_agent.py');
    expect(readFileSync(join(directory, 'install.conf'), 'utf8')).toBe(
      'AUTO_START=1\nRUN_AS_SERVICE=1\nDEBUG=1\n',
    );
    run(directory);
    const agent = await untilOnline('javascript-1');
    expect(await outputOf(agent.id, 'echo hello')).toBe('hello\n');
  });

  it('is made with the defaults for an empty body, as dex clients send it', async () => {
    const config = await system.call<Record<string, unknown>>('GET', '/api/v1/installer/config');
    expect(config).toEqual({
      server_url: system.url,
      api_token: '',
      agent_name: null,
      tags: [],
      auto_start: true,
      run_as_service: true,
      debug: false,
    });
    const packages = [];
    for (const body of [undefined, {}, { server_url: '', agent_name: null }]) {
      packages.push(configOf(await unpack(await post('/api/v1/installer/create-python', body))));
    }
    expect(new Set(packages.map((each) => each.STEELTHREAD_ENROL_TOKEN)).size).toBe(3);
    expect(packages[0]).toEqual({
      STEELTHREAD_URL: system.url,
      STEELTHREAD_ENROL_TOKEN: expect.any(String),
    });
  });

  it('of the house: for a fleet, once per Idempotency-Key, and on record', async () => {
    const key = { 'idempotency-key': 'one-package' };
    const body = { kind: 'python', agentName: 'fleet', maxUses: 20, ttlMs: 60_000, autoStart: false };
    const directory = await unpack(await post('/v1/installers', body, key));
    expect(readFileSync(join(directory, 'install.conf'), 'utf8')).toContain('AUTO_START=0\n');
    expect((await post('/v1/installers', body, key)).status).toBe(409);
    const { items } = await system.call<{ items: { label: string; maxUses: number }[] }>(
      'GET',
      '/v1/agents/enrolments',
    );
    const label = 'installer (python): fleet';
    expect(items.filter((item) => item.label === label)).toEqual([expect.objectContaining({ maxUses: 20 })]);
    const rows = await system.api.parts.db('audit_events').where({ action: 'enrolment.create' });
    expect(rows.filter((row) => row.details.label === label)).toHaveLength(1);
    expect((await post('/v1/installers', { kind: 'exe' })).status).toBe(422);
  });
});

const hostileNames = [
  `"; touch ${'PWNED'}; "`,
  "'; touch PWNED; '",
  '$(touch PWNED) `touch PWNED`',
  'a\r\nSTEELTHREAD_URL=http://evil.example\r\n',
  '\u001b]0;title\u0007\u202Egnp.exe',
  '</string><string>evil</string> & %PATH% $env:PATH "@ \'@',
  '../../etc/passwd',
  '@DIRECTORY@|e touch PWNED',
];

describe('names that want to run', () => {
  /** What every package must hold, whoever asked for it: name → sha256. */
  const sums = (directory: string) =>
    Object.fromEntries(
      readdirSync(directory)
        .filter((name) => name !== 'config.json')
        .map((name) => [
          name,
          createHash('sha256')
            .update(readFileSync(join(directory, name)))
            .digest('hex'),
        ]),
    );

  it.each(hostileNames)('%j stands in config.json, inert, and nowhere else', async (name) => {
    const usual = sums(await unpack(await post('/api/v1/installer/create-python', {})));
    const reply = await post('/api/v1/installer/create-python', { agent_name: name });
    expect(reply.headers.get('content-disposition')).toBe(
      'attachment; filename="steelthread-agent-python.zip"',
    );
    const directory = await unpack(reply);
    expect(sums(directory)).toEqual(usual);
    const config = configOf(directory);
    expect(Object.keys(config)).toHaveLength(3);
    expect(config.STEELTHREAD_URL).toBe(system.url);
    expect(config.STEELTHREAD_AGENT_NAME).toHaveLength(name.length);
    expect(config.STEELTHREAD_AGENT_NAME).not.toMatch(/[\p{Cc}\u202E]/u);

    run(directory);
    await untilOnline(config.STEELTHREAD_AGENT_NAME?.trim() ?? '');
    const installed = install(directory, []);
    expect(installed.status).toBe(0);
    const files = execFileSync('find', [folder, '-name', 'PWNED*'], { encoding: 'utf8' });
    expect(files).toBe('');
    expect(existsSync('PWNED')).toBe(false);
  });

  it.each([
    'http://host/\r\nX: y',
    'http://user:secret@host/',
    'javascript:alert(1)',
    'file:///etc/passwd',
    'http://host/?a=$(id)',
    'http://host/#x',
    'host:8000',
    'http://ho st/',
    'ftp://host',
  ])('the server URL %j is refused', async (url) => {
    const reply = await post('/api/v1/installer/create', { server_url: url });
    expect(reply.status).toBe(422);
    expect(await reply.json()).toMatchObject({ success: false, code: 'VALIDATION_ERROR' });
  });

  it.each([
    { tags: ['a b'] },
    { tags: ['$(id)'] },
    { agent_name: 'x'.repeat(256) },
    { auto_start: 'perhaps' },
  ])('%j is refused', async (body) => {
    expect((await post('/api/v1/installer/create-python', body)).status).toBe(422);
  });
});

function install(directory: string, args: string[]) {
  return spawnSync('dash', [join(directory, 'install.sh'), ...args], {
    cwd: folder,
    env: { PATH: process.env.PATH, DESTDIR: join(folder, 'root') },
    encoding: 'utf8',
  });
}

describe('install.sh', () => {
  const at = (path: string): string => join(folder, 'root', path);

  it('lays files, service and rights out, and takes them away again', async () => {
    const directory = await unpack(await post('/v1/installers', { debug: true }));
    const done = install(directory, ['--user', 'steel', '--directory', '/opt/st']);
    expect([done.status, done.stderr]).toEqual([0, '']);
    expect(readdirSync(at('opt/st')).sort()).toEqual(['config.json', 'run.sh', 'steelthread_agent.py']);
    expect(statSync(at('opt/st/config.json')).mode & 0o777).toBe(0o600);
    const unit = readFileSync(at('etc/systemd/system/steelthread-agent.service'), 'utf8');
    expect(unit).toContain('\nExecStart=/opt/st/run.sh --debug\n');
    expect(unit).toContain('\nEnvironment=STEELTHREAD_AGENT_HOME=/var/lib/steelthread-agent\n');
    expect(unit).toContain('\nUser=steel\n');
    expect(unit).not.toContain('@');
    writeFileSync(at('var/lib/steelthread-agent/agent.json'), '{}');
    expect(install(directory, ['--directory', '/opt/st', '--uninstall']).status).toBe(0);
    expect(existsSync(at('opt/st'))).toBe(false);
    expect(existsSync(at('etc/systemd/system/steelthread-agent.service'))).toBe(false);
    expect(existsSync(at('var/lib/steelthread-agent/agent.json'))).toBe(true);
  });

  it('leaves nothing of an earlier package of the other kind, which would be what runs', async () => {
    const first = await unpack(await post('/v1/installers', { kind: 'javascript' }));
    expect(install(first, []).status).toBe(0);
    expect(readdirSync(at('opt/steelthread-agent'))).toContain('steelthread-agent.mjs');
    rmSync(first, { recursive: true });
    expect(install(await unpack(await post('/v1/installers', { kind: 'python' })), []).status).toBe(0);
    expect(readdirSync(at('opt/steelthread-agent')).sort()).toEqual([
      'config.json',
      'run.sh',
      'steelthread_agent.py',
    ]);
  });

  it('makes no service where none is wanted', async () => {
    const directory = await unpack(await post('/api/v1/installer/create-python', { run_as_service: false }));
    expect(install(directory, []).status).toBe(0);
    expect(existsSync(at('opt/steelthread-agent/run.sh'))).toBe(true);
    expect(existsSync(at('etc'))).toBe(false);
  });

  it.each([
    ['--directory', '/opt/a|b'],
    ['--directory', '/opt/a\nb'],
    ['--directory', 'relative'],
    ['--home', '/var/../etc'],
    ['--user', 'root;id'],
    ['--user', ''],
    ['--no-such-option', ''],
  ])('refuses %s %j', async (option, value) => {
    const directory = await unpack(await post('/v1/installers', {}));
    expect(install(directory, [option, value]).status).not.toBe(0);
    expect(existsSync(at(''))).toBe(false);
  });

  it('every shell can read the scripts, and the definitions are well-formed', () => {
    const scripts = fileURLToPath(new URL('../../agent-installer/', import.meta.url));
    for (const shell of ['dash', 'bash']) {
      for (const name of ['install.sh', 'run.sh']) execFileSync(shell, ['-n', join(scripts, name)]);
    }
    const check = 'import plistlib, sys; plistlib.load(open(sys.argv[1], "rb"))';
    execFileSync('python3', ['-c', check, join(scripts, 'com.steelthread.agent.plist')]);
  });
});
