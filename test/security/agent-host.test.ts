/** The machine an agent runs on: what its commands can read, what a hostile server can make it do. */
import { chmodSync, mkdirSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { parseAgentConfig } from '../../agent/config.ts';
import { enrol } from '../../agent/enrol.ts';
import { writeIdentity } from '../../agent/home.ts';
import { createFixture, type Fixture } from '../agent/agent-fixture.ts';
import { runFrame, shellAct } from '../support/scripted-bridge.ts';

const TOKEN = 'the-token-of-this-agent';
const isRoot = process.getuid?.() === 0;

let fixture: Fixture;
beforeEach(async () => {
  fixture = await createFixture();
});
afterEach(() => fixture.close());

/** Starts the agent as a process with its token in the environment. @returns what a script prints and its exit code */
async function startAgent() {
  const child = fixture.agentProcess(undefined, { STEELTHREAD_AGENT_TOKEN: TOKEN });
  const session = await fixture.bridge.session();
  const run = async (script: string, more: object = {}) => {
    const frame = runFrame(shellAct(script, more));
    session.send(frame);
    const result = await session.frame('result', frame.commandId);
    const text = session
      .framesOf('output', frame.commandId)
      .map(({ bytes }) => Buffer.from(bytes, 'base64').toString())
      .join('');
    return { text, result };
  };
  return { child, session, run };
}

test('the token is in no argument, in no environment of a command, and in no log line', async () => {
  const { child, session, run } = await startAgent();
  const { text } = await run('env; cat /proc/self/environ /proc/self/cmdline /proc/$PPID/cmdline');
  expect(text).not.toContain(TOKEN);
  expect(text).toContain('STEELTHREAD_COMMAND_ID');
  session.sendText('{"type":"run","commandId":"x","secret":"in a broken frame"}');
  session.sendText(`{"type":"nonsense","token":"${TOKEN}"}`);
  await run('echo the output of a command; exit 3', {
    environment: { PASSWORD: 'of-the-act' },
    stdin: 'c2VjcmV0',
  });
  expect(child.log()).toContain('command_started');
  for (const secret of [TOKEN, 'of-the-act', 'the output of a command', 'in a broken frame', 'c2VjcmV0']) {
    expect(child.log()).not.toContain(secret);
  }
});

test('its files are its own', async () => {
  writeIdentity(fixture.home, { agentId: 'test-agent', agentToken: TOKEN });
  const { run } = await startAgent();
  await run('echo x');
  const modeOf = (name: string) => (statSync(join(fixture.home, name)).mode & 0o777).toString(8);
  expect(modeOf('.')).toBe('711');
  expect(modeOf('agent.json')).toBe('600');
  expect(modeOf('journal.log')).toBe('600');
  expect(modeOf('lock')).toBe('600');
  for (const name of readdirSync(fixture.home)) {
    const isOpen = ['work', '.'].includes(name);
    expect([name, isOpen || /[1-7]00$/.test(modeOf(name))]).toEqual([name, true]);
  }
});

describe.skipIf(!isRoot)('a command that runs as another user', () => {
  test('reads neither the environment of the agent nor its files, and has no rights of root left', async () => {
    writeIdentity(fixture.home, { agentId: 'test-agent', agentToken: TOKEN });
    const { run } = await startAgent();
    const as = { user: 'nobody', workingDirectory: '/' };
    const home = fixture.home;
    chmodSync(fixture.directory, 0o711); // So that the modes of the home itself decide.
    const script = `cat /proc/$PPID/environ; cat ${home}/agent.json ${home}/journal.log; ls ${home} ${home}/spool; id -u; id -G; echo end`;
    const { text, result } = await run(script, as);
    expect(result.outcome).toBe('succeeded');
    expect(text).not.toContain(TOKEN);
    expect(text).not.toContain('agent.json\n');
    expect(text).toContain('end');
    const numbers = text.split('\n').filter((line) => /^[\d ]+$/.test(line));
    expect(numbers.join(' ').split(' ')).not.toContain('0');
  });
});

describe('a hostile server', () => {
  test('cannot leave the fields of the act: odd directories, users and ids end as refusals', async () => {
    const { session, run } = await startAgent();
    for (const act of [
      { workingDirectory: '../../../../nowhere' },
      { workingDirectory: '/proc/self/nowhere' },
      { user: '../root' },
      { user: 'root:x' },
      { user: '#0' },
      { user: '-1' },
    ]) {
      const { result } = await run('echo ran', act);
      expect([act, result.outcome]).toEqual([act, 'rejected']);
    }
    // An id is a UUID and nothing else: it names files and cgroups.
    const frame = runFrame(shellAct('echo ran > ran'));
    session.sendText(JSON.stringify({ ...frame, commandId: '../../../../tmp/steelthread-escape' }));
    const { text } = await run('ls');
    expect(text).not.toContain('ran');
  });

  test('cannot have it run what its digest does not cover, or a frame beyond the limits', async () => {
    const { session, run } = await startAgent();
    const frame = runFrame(shellAct('echo ran > ran'));
    session.send({ ...frame, act: shellAct('echo other > ran') });
    expect(await session.frame('result', frame.commandId)).toMatchObject({
      outcome: 'rejected',
      reason: 'digest_mismatch',
    });
    const environment = Object.fromEntries(Array.from({ length: 500 }, (_, i) => [`V${i}`, 'x']));
    session.sendText(
      JSON.stringify({ ...runFrame(shellAct('echo ran > ran')), act: shellAct('true', { environment }) }),
    );
    const { text } = await run('ls');
    expect(text).not.toContain('ran');
  });

  test('may not send an enrolment token elsewhere', async () => {
    let stolen = '';
    const thief = createServer((request, response) => {
      request.on('data', (chunk) => {
        stolen += String(chunk);
      });
      request.on('end', () => response.end('{}'));
    });
    await new Promise<void>((resolve) => thief.listen(0, '127.0.0.1', resolve));
    const { port } = thief.address() as AddressInfo;
    const server = createServer((_request, response) => {
      response.writeHead(307, { location: `http://127.0.0.1:${port}/` }).end();
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    await expect(enrol({ url, enrolmentToken: 'ste_precious', agentId: undefined })).rejects.toThrow();
    expect(stolen).toBe('');
    thief.close();
    server.close();
  });
});

test('another machine is spoken to by TLS, unless somebody says otherwise', () => {
  mkdirSync(fixture.home, { recursive: true });
  const problemsOf = (url: string, more: Record<string, string> = {}) => {
    const env = {
      STEELTHREAD_URL: url,
      STEELTHREAD_AGENT_HOME: fixture.home,
      STEELTHREAD_ENROL_TOKEN: 'x',
      ...more,
    };
    const result = parseAgentConfig([], env);
    return result.ok === false ? result.problems.join() : '';
  };
  for (const url of [
    'http://hub.example',
    'ws://10.0.0.1',
    'http://127.0.0.1.evil.example',
    'http://localhost.evil',
  ]) {
    expect(problemsOf(url), url).toContain('must be https://');
    expect(problemsOf(url, { STEELTHREAD_AGENT_ALLOW_PLAINTEXT: '1' })).toBe('');
  }
  for (const url of [
    'https://hub.example',
    'wss://hub.example',
    'http://127.0.0.1:8000',
    'http://[::1]:8000',
    'http://localhost',
  ]) {
    expect(problemsOf(url), url).toBe('');
  }
  expect(readFileSync(new URL('../../agent/config.ts', import.meta.url), 'utf8')).not.toContain("'token'");
});
