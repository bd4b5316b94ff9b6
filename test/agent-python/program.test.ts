/** The Python agent's own parts: the same digests, RFC 6455 in pieces, TLS, configuration, and a home of the other agent. */
import { execFileSync, spawnSync } from 'node:child_process';
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { WebSocketServer } from 'ws';
import { type Act, actDigest, actSchema } from '../../contracts/act.ts';
import { exited, type Fixture } from '../agent/agent-fixture.ts';
import { argvAct, runFrame, shellAct, waitFor } from '../support/scripted-bridge.ts';
import { agentFile, python, pythonAgent, pythonEnvironment } from './python-agent.ts';

let fixture: Fixture;
beforeEach(async () => {
  fixture = await pythonAgent.createFixture();
});
afterEach(() => fixture.close());

/** Runs Python with the agent imported as `program`; `input` is `json.load`ed as `given`. */
function inPython(code: string, input: unknown): unknown {
  const head = `import json, sys\nsys.path.insert(0, ${JSON.stringify(join(agentFile, '..'))})\nimport steelthread_agent as program\ngiven = json.load(sys.stdin)\n`;
  const done = spawnSync(python, ['-c', head + code], {
    input: JSON.stringify(input),
    encoding: 'utf8',
    env: { ...process.env, ...pythonEnvironment },
    maxBuffer: 64 * 1024 * 1024,
  });
  if (done.status !== 0) throw new Error(done.stderr);
  return JSON.parse(done.stdout);
}

const text = fc.string({ unit: 'binary', maxLength: 40 }).map((value) => value.replaceAll('\0', ''));
const filled = text.map((value) => `x${value}`);
const shared = {
  stdin: fc.option(
    fc.uint8Array({ maxLength: 50 }).map((bytes) => Buffer.from(bytes).toString('base64')),
    { nil: null },
  ),
  workingDirectory: fc.option(filled, { nil: null }),
  environment: fc.dictionary(fc.stringMatching(/^[A-Za-z_][A-Za-z0-9_]{0,8}$/), text, { maxKeys: 5 }),
  user: fc.option(filled, { nil: null }),
  elevated: fc.boolean(),
  timeoutMs: fc.integer({ min: 100, max: 86_400_000 }),
  outputCapBytes: fc.integer({ min: 0, max: 1024 ** 3 }),
  expiryMs: fc.integer({ min: 1_000, max: 2_592_000_000 }),
};
const anyAct: fc.Arbitrary<Act> = fc.oneof(
  fc.record({
    mode: fc.constant('shell' as const),
    shell: fc.constantFrom('sh', 'bash', 'pwsh', 'powershell', 'cmd'),
    script: filled,
    ...shared,
  }),
  fc.record({
    mode: fc.constant('argv' as const),
    argv: fc.array(text, { maxLength: 5 }).map((rest) => ['program', ...rest]),
    ...shared,
  }),
);

describe('acts', () => {
  it('have the same digest in both languages', () => {
    const binding = { taskRun: 'Ünï/1', step: 3, proposalId: '' };
    const acts = fc.sample(anyAct, 300).map((act) => actSchema.parse(act));
    const digests = inPython(
      'print(json.dumps([program.act_digest(program.parse_act(act), given["binding"]) for act in given["acts"]]))',
      { acts, binding },
    );
    expect(digests).toEqual(acts.map((act) => actDigest(act, binding)));
  });

  it('that the contract refuses are refused here too', () => {
    const good = shellAct('true');
    const bad = [
      { ...good, novelty: 1 },
      { ...good, script: ' \n' },
      { ...good, script: 'a\0b' },
      { ...good, script: 'x'.repeat(120 * 1024 + 1) },
      { ...good, shell: 'zsh' },
      { ...good, mode: 'other' },
      { ...good, timeoutMs: 99 },
      { ...good, timeoutMs: 1000.5 },
      { ...good, timeoutMs: true },
      { ...good, elevated: 1 },
      { ...good, environment: { 'A-B': 'x' } },
      { ...good, environment: { STEELTHREAD_COMMAND_ID: 'x' } },
      { ...good, environment: { A: 1 } },
      { ...good, stdin: 'not base64!' },
      { ...good, user: '' },
      { ...good, workingDirectory: '' },
      argvAct([]),
      argvAct(['']),
      { ...argvAct(['a']), script: 'x' },
      null,
      [],
    ];
    expect(bad.map((act) => actSchema.safeParse(act).success)).toEqual(bad.map(() => false));
    const verdicts = inPython(
      `
def verdict(act):
    try:
        program.parse_act(act)
        return False
    except program.Malformed:
        return True
print(json.dumps([verdict(act) for act in given]))`,
      bad,
    );
    expect(verdicts).toEqual(bad.map(() => true));
  });
});

describe('output', () => {
  it('that a full disk took a part of is whole after a restart', () => {
    const path = join(fixture.home, '..', 'spooled');
    const code = `
import base64, os
def spooled():
    spool = program.Spool(given["path"], 1000)
    spool.append(b"0123456789")
    write = spool._write
    def fill(data):
        write(data[:4])
        raise OSError(28, "No space left on device")
    spool._write = fill
    spool.spill()
    return spool
spool = spooled()
is_left = os.path.exists(given["path"])
open(given["path"], "wb").write(b"0123")
restored = program.Spool.restore(given["path"], spool.memory_base64())
print(json.dumps([is_left, restored.read(0, 100).decode()]))`;
    expect(inPython(code, { path })).toEqual([false, '0123456789']);
  });
});

describe('WebSocket frames', () => {
  /** What a reader makes of these bytes (hex), fed in pieces of each size; or the code of its refusal. */
  const read = (hex: string, sizes = [1, 2, 3, 1_000]): unknown[] =>
    inPython(
      `
def read(data, size):
    reader, out = program.FrameReader(1000), []
    try:
        for start in range(0, len(data), size):
            out += [[opcode, payload.hex()] for opcode, payload in reader.feed(data[start:start + size])]
    except program.ProtocolError as error:
        return error.code
    return out
print(json.dumps([read(bytes.fromhex(given["hex"]), size) for size in given["sizes"]]))`,
      { hex, sizes },
    ) as unknown[];
  const always = (hex: string, expected: unknown) =>
    expect(read(hex)).toEqual([expected, expected, expected, expected]);

  it('are put together from any pieces, with control frames between them', () => {
    // "He" + ping + "llo", then a text of 126 bytes with a 16-bit length.
    always(`01024865${'890161'}80036c6c6f817e007e${'61'.repeat(126)}`, [
      [9, '61'],
      [1, '48656c6c6f'],
      [1, '61'.repeat(126)],
    ]);
    always('8200', [[2, '']]);
  });

  it.each([
    ['a masked frame', '8180000000', 1002],
    ['reserved bits', 'c100', 1002],
    ['an unknown opcode', '8300', 1002],
    ['a continuation of nothing', '8000', 1002],
    ['a text inside a text', '01006100', 1002],
    ['a ping in parts', '0900', 1002],
    ['a ping too long', '897e007e', 1002],
    ['a frame too large', '817e03e9', 1009],
    ['a frame of 2^63 bytes', '817f8000000000000000', 1009],
    ['a message too large', `017e0300${'61'.repeat(768)}807e0300${'61'.repeat(768)}`, 1009],
  ])('%s is refused', (_name, hex, code) => {
    // A masked frame may be the second byte of what follows "a text inside a text".
    for (const verdict of read(hex)) expect(verdict).toBe(code);
  });
});

describe('TLS', () => {
  it('runs commands with much output both ways, and refuses a certificate it does not know', async () => {
    const [key, cert] = [join(fixture.directory, 'key.pem'), join(fixture.directory, 'cert.pem')];
    execFileSync(
      'openssl',
      ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-subj', '/CN=localhost'].concat([
        '-addext',
        'subjectAltName=DNS:localhost,IP:127.0.0.1',
        '-keyout',
        key,
        '-out',
        cert,
      ]),
      { stdio: 'ignore' },
    );
    const server = createServer({ key: readFileSync(key), cert: readFileSync(cert) });
    const sockets = new WebSocketServer({ server, perMessageDeflate: false });
    let bytes = 0;
    let outcome = '';
    const frame = runFrame(shellAct('head -c 6000000 /dev/urandom; head -c 3000000 /dev/zero >&2'));
    sockets.on('connection', (socket) => {
      socket.on('message', (data) => {
        const got = JSON.parse(data.toString());
        const send = (value: object) => socket.send(JSON.stringify(value));
        if (got.type === 'hello') {
          const welcome = { type: 'welcome', protocol: 1, agentId: got.agentId, epoch: 1 };
          send({ ...welcome, presenceIntervalMs: 15_000, serverVersion: 'tls', resetJournal: false });
          // Large frames towards the agent as well: more than one TLS record each.
          for (let index = 0; index < 5; index += 1) {
            send({ type: 'error', code: 'noise', message: 'x'.repeat(200_000) });
          }
          send(frame);
        }
        if (got.type === 'output') {
          const size = Buffer.from(got.bytes, 'base64').length;
          bytes += size;
          const { commandId, stream, offset } = got;
          send({ type: 'outputAck', commandId, stream, nextOffset: offset + size });
        }
        if (got.type === 'result') {
          outcome = got.outcome;
          send({ type: 'resultAck', commandId: got.commandId });
        }
      });
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    try {
      const STEELTHREAD_URL = `https://localhost:${(server.address() as AddressInfo).port}`;
      const stranger = fixture.agentProcess(undefined, {
        STEELTHREAD_URL,
        STEELTHREAD_AGENT_HOME: join(fixture.directory, 'stranger'),
      });
      await waitFor('the refusal', () => stranger.log().includes('CERTIFICATE_VERIFY_FAILED'));
      expect(sockets.clients.size).toBe(0);
      stranger.kill('SIGTERM');
      expect(await exited(stranger)).toBe(0);

      const agent = fixture.agentProcess(undefined, { STEELTHREAD_URL, SSL_CERT_FILE: cert });
      await waitFor('the result', () => outcome !== '').catch((error: Error) => {
        throw new Error(`${error.message}: ${bytes} bytes; ${agent.log()}`);
      });
      expect([outcome, bytes]).toEqual(['succeeded', 9_000_000]);
      agent.kill('SIGTERM');
      expect(await exited(agent)).toBe(0);
    } finally {
      for (const client of sockets.clients) client.terminate();
      sockets.close();
      await new Promise((resolve) => server.close(resolve));
    }
  });
});

describe('configuration', () => {
  const start = (args: string[], environment: Record<string, string> = {}) =>
    spawnSync(python, [agentFile, ...args], {
      env: { PATH: process.env.PATH, HOME: fixture.directory, ...pythonEnvironment, ...environment },
      encoding: 'utf8',
      timeout: 10_000,
    });

  it('tells of all problems at once', () => {
    const { status, stderr } = start(['--max-parallel', '0', '--nonsense'], {
      STEELTHREAD_URL: 'http://example.com',
      STEELTHREAD_AGENT_ID: '-x',
      STEELTHREAD_AGENT_TOKEN: 'line\nbreak',
    });
    expect(status).toBe(2);
    for (const part of ['--nonsense', 'must be https://', 'MAX_PARALLEL', 'AGENT_ID', 'AGENT_TOKEN']) {
      expect(stderr).toContain(part);
    }
    for (const url of ['file:///x', 'http://', 'http://a b', 'http://[::1', 'https://h/?q=1']) {
      expect(start(['--url', url]).stderr).toContain('must be an http(s) URL');
    }
  });

  it('enrols once, from a file of settings, and keeps its identity to itself', async () => {
    const config = join(fixture.directory, 'config.json');
    const settings = { STEELTHREAD_URL: fixture.bridge.url, STEELTHREAD_ENROL_TOKEN: 'one-time' };
    writeFileSync(config, `\uFEFF${JSON.stringify({ ...settings, STEELTHREAD_AGENT_NAME: 'näme' })}`);
    const environment = { STEELTHREAD_AGENT_ID: '', STEELTHREAD_AGENT_TOKEN: '', STEELTHREAD_URL: '' };
    const first = fixture.agentProcess([python, agentFile, '--config', config], environment);
    const session = await fixture.bridge.session();
    expect(session.authorization).toBe('Bearer enrolled-token');
    expect(session.hello).toMatchObject({ agentId: 'enrolled-agent', hostname: 'näme' });
    expect((await session.frame('presence')).metrics?.disks.length).toBeGreaterThan(0);
    expect(statSync(join(fixture.home, 'agent.json')).mode & 0o777).toBe(0o600);
    first.kill('SIGTERM');
    expect(await exited(first)).toBe(0);
    fixture.agentProcess([python, agentFile, '--config', config], environment);
    await fixture.bridge.session(1);
    expect(fixture.bridge.enrolments).toHaveLength(1);
  });
});

describe('the home of the JavaScript agent', () => {
  it('is taken over with its journal and its identity, and given back', async () => {
    const javascript = [process.execPath, '--import', 'tsx'].concat(
      join(agentFile, '..', '..', 'agent', 'main.ts'),
    );
    const frame = runFrame(shellAct('echo x'));
    let journalId: string | undefined;
    for (const [index, program] of [javascript, undefined, javascript, undefined].entries()) {
      const agent = fixture.agentProcess(program);
      const session = await fixture.bridge.session(index);
      journalId ??= session.hello.journalId;
      expect(session.hello.journalId).toBe(journalId);
      session.send(frame);
      // Started by the first alone; the others know its result.
      expect(await session.frame('result', frame.commandId)).toMatchObject({ outcome: 'succeeded' });
      expect(session.framesOf('started', frame.commandId)).toHaveLength(index === 0 ? 1 : 0);
      const own = runFrame(shellAct('echo y'));
      session.send(own);
      await session.frame('result', own.commandId);
      agent.kill('SIGTERM');
      expect(await exited(agent)).toBe(0);
    }
  });
});
