import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { buildAgentBundle } from '../../agent/build.ts';
import { parseAgentConfig } from '../../agent/config.ts';
import { createMetricsReader } from '../../agent/presence.ts';
import { metricsSchema } from '../../contracts/agent-protocol.ts';
import { runFrame, shellAct } from '../support/scripted-bridge.ts';
import { createFixture, exited } from './agent-fixture.ts';

describe('agent configuration', () => {
  let home: string;
  beforeEach(() => {
    home = mkdtempSync(join(tmpdir(), 'steelthread-config-'));
  });
  afterEach(() => rmSync(home, { recursive: true, force: true }));

  test('all problems are told at once, by variable', () => {
    const result = parseAgentConfig(['--max-parallel', 'x'], {
      STEELTHREAD_URL: 'nowhere',
      STEELTHREAD_AGENT_HOME: home,
      STEELTHREAD_AGENT_DELIVERY: 'pigeon',
    });
    if (result.ok !== false) throw new Error('expected problems');
    expect(result.problems).toHaveLength(4);
    const text = result.problems.join('\n');
    for (const name of ['STEELTHREAD_URL', 'DELIVERY', 'MAX_PARALLEL', 'STEELTHREAD_ENROL_TOKEN']) {
      expect(text).toContain(name);
    }
  });

  test('flags win over the environment, a given token over the stored identity, that over enrolment', () => {
    const env = {
      STEELTHREAD_URL: 'https://a',
      STEELTHREAD_AGENT_HOME: home,
      STEELTHREAD_ENROL_TOKEN: 'one-time',
    };
    const configOf = (args: string[], more: Record<string, string> = {}) => {
      const result = parseAgentConfig(args, { ...env, ...more });
      if (result.ok !== true) throw new Error(JSON.stringify(result));
      return result.config;
    };
    expect(configOf(['--url', 'https://b'])).toMatchObject({
      url: 'https://b',
      delivery: 'websocket',
      maxParallel: 16,
      identity: { enrolmentToken: 'one-time' },
    });
    writeFileSync(join(home, 'agent.json'), JSON.stringify({ agentId: 'stored', agentToken: 't1' }));
    expect(configOf([]).identity).toEqual({ agentId: 'stored', agentToken: 't1' });
    writeFileSync(join(home, 'token'), ' t2\n');
    expect(configOf(['--token-file', join(home, 'token'), '--agent-id', 'given']).identity).toEqual({
      agentId: 'given',
      agentToken: 't2',
    });
  });

  test('a file of settings stands behind flags and environment; a bad one is told', () => {
    const file = join(home, 'config.json');
    const settings = {
      STEELTHREAD_URL: 'https://file',
      STEELTHREAD_ENROL_TOKEN: 'one-time',
      STEELTHREAD_AGENT_HOME: home,
      STEELTHREAD_AGENT_NAME: '$(id) "x"',
    };
    writeFileSync(file, `\uFEFF${JSON.stringify(settings)}`);
    const result = parseAgentConfig(['--config', file], { STEELTHREAD_AGENT_MAX_PARALLEL: '3' });
    expect(result).toMatchObject({
      ok: true,
      config: { url: 'https://file', name: '$(id) "x"', maxParallel: 3, home },
    });
    const env = { STEELTHREAD_AGENT_CONFIG: file, STEELTHREAD_URL: 'https://env' };
    expect(parseAgentConfig(['--name', 'flag'], env)).toMatchObject({
      config: { url: 'https://env', name: 'flag' },
    });
    for (const text of ['{', '[]', '{"STEELTHREAD_URL":1}']) {
      writeFileSync(file, text);
      expect(parseAgentConfig([], env)).toMatchObject({
        ok: false,
        problems: expect.arrayContaining([expect.stringContaining('STEELTHREAD_AGENT_CONFIG')]),
      });
    }
  });

  test('host metrics have the shape of the contract', async () => {
    const metrics = metricsSchema.parse(await createMetricsReader()());
    expect(metrics.memoryTotalBytes).toBeGreaterThan(0);
    expect(metrics.disks.length).toBeGreaterThan(0);
  });
});

describe('the bundled agent', () => {
  test('one file enrols, runs a command, and uses its stored identity the next time', async () => {
    const fixture = await createFixture();
    try {
      const file = join(fixture.directory, 'steelthread-agent.mjs');
      await buildAgentBundle(file);
      const environment = {
        STEELTHREAD_AGENT_ID: '',
        STEELTHREAD_AGENT_TOKEN: '',
        STEELTHREAD_ENROL_TOKEN: 'one-time',
      };
      const first = fixture.agentProcess([process.execPath, file], environment);
      const session = await fixture.bridge.session();
      expect(session.authorization).toBe('Bearer enrolled-token');
      expect(session.hello.agentId).toBe('enrolled-agent');
      expect(session.hello.capabilities).toContain('shell');
      expect((await session.frame('presence')).metrics?.memoryTotalBytes).toBeGreaterThan(0);
      const frame = runFrame(shellAct('echo bundled'));
      session.send(frame);
      await session.frame('result', frame.commandId);
      expect(fixture.bridge.output(frame.commandId, 'stdout').toString()).toBe('bundled\n');
      first.kill('SIGTERM');
      expect(await exited(first)).toBe(0);
      expect(statSync(join(fixture.home, 'agent.json')).mode & 0o777).toBe(0o600);

      fixture.agentProcess([process.execPath, file], environment);
      const second = await fixture.bridge.session(1);
      expect(second.hello.journalId).toBe(session.hello.journalId);
      expect(fixture.bridge.enrolments).toHaveLength(1);

      const other = {
        ...environment,
        STEELTHREAD_AGENT_HOME: join(fixture.directory, 'other'),
        STEELTHREAD_ENROL_TOKEN: 'used',
      };
      const refused = fixture.agentProcess([process.execPath, file], other);
      expect(await exited(refused)).toBe(1);
      expect(refused.log()).toContain('refused the enrolment: 401');
    } finally {
      await fixture.close();
    }
  }, 30_000);
});
