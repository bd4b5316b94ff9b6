/** Frames of agents that speak other systems' dialects, read and written without a socket. */
import { randomUUID } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseLegacyFrame } from '../../api/bridge/dialects/events.ts';
import { flatDialect } from '../../api/bridge/dialects/flat.ts';
import { nestedResultDialect } from '../../api/bridge/dialects/nested-result.ts';
import { helloOf, readRegistration } from '../../api/bridge/dialects/registration.ts';
import { requestIdDialect } from '../../api/bridge/dialects/request-id.ts';
import { topLevelIdDialect } from '../../api/bridge/dialects/top-level-id.ts';
import { helloSchema } from '../../contracts/agent-protocol.ts';

const id = randomUUID();
const command = {
  commandId: id,
  shell: 'powershell',
  script: 'Get-Date',
  workingDirectory: 'C:\\',
  elevated: true,
  timeoutSeconds: 30,
} as const;

const read = (frame: unknown) => parseLegacyFrame(JSON.stringify(frame));
const resultOf = (frame: unknown) => {
  const event = read(frame);
  if (event.kind !== 'result') throw new Error(`read as ${event.kind}`);
  const { stdout, stderr, ...rest } = event.result;
  return { ...rest, stdout: stdout.toString(), stderr: stderr.toString() };
};

describe('the frame of a command', () => {
  it('A: by request id, or with its kind where it is no PowerShell', () => {
    expect(requestIdDialect.commandFrame(command)).toMatchObject({
      type: 'powershell_command',
      request_id: `ps_${id}`,
      command: 'Get-Date',
      timeout: 30,
      working_directory: 'C:\\',
    });
    expect(requestIdDialect.commandFrame({ ...command, shell: 'cmd' })).toMatchObject({
      type: 'command',
      data: { id, command_id: id, type: 'cmd', command: 'Get-Date', timeout: 30 },
    });
  });

  it('B and C: in data, under both names of the id; C is told of elevation', () => {
    const data = { id, command_id: id, command: 'Get-Date', timeout: 30, working_directory: 'C:\\' };
    expect(nestedResultDialect.commandFrame(command)).toMatchObject({ type: 'command', data });
    expect(topLevelIdDialect.commandFrame(command)).toMatchObject({
      type: 'command',
      data: { ...data, run_as_admin: true },
    });
  });

  it('D: flat', () => {
    expect(flatDialect.commandFrame(command)).toMatchObject({
      type: 'execute_command',
      command_id: id,
      command: 'Get-Date',
      timeout: 30,
      working_directory: 'C:\\',
    });
  });

  it('all: elevation is told where it is asked for, since an agent of any may offer it', () => {
    const dialects = [requestIdDialect, nestedResultDialect, topLevelIdDialect, flatDialect];
    const told = (elevated: boolean) =>
      dialects.map((dialect) => {
        const { data, ...frame } = dialect.commandFrame({ ...command, elevated });
        return (
          (frame.run_as_admin ?? (data as { run_as_admin?: boolean } | undefined)?.run_as_admin) === true
        );
      });
    expect(told(true)).toEqual([true, true, true, true]);
    expect(told(false)).toEqual([false, false, false, false]);
  });
});

describe('which dialect', () => {
  it.each([
    ['agent', { data: { id: 'a', hostname: 'h' } }, 'request_id', 'a'],
    ['agent', { data: { agent_id: 'a', hostname: 'h' } }, 'nested_result', 'a'],
    ['id', { data: { agent_id: 'a', hostname: 'h' } }, 'nested_result', 'a'],
    ['id', { data: { hostname: 'h' } }, 'top_level_id', undefined],
    ['agent', { agent_id: 'a', hostname: 'h', system_info: {} }, 'flat', 'a'],
    ['id', { agent_id: 'a', hostname: 'h' }, 'flat', 'a'],
  ] as const)('at %s with %j', (endpoint, frame, name, claimedId) => {
    const read = readRegistration({ type: 'register', ...frame }, endpoint);
    expect(read).toMatchObject({ dialect: { name }, claimedId, hostname: 'h' });
  });

  it('the hello made of it is one of protocol v1, whatever was said', () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string(), fc.jsonValue()), fc.string(), (data, hostname) => {
        const frame = { type: 'register', data: { hostname, ...data } };
        const hello = helloOf('agent-1', 'known', readRegistration(frame, 'agent'));
        expect(helloSchema.safeParse(hello).success).toBe(true);
      }),
      { numRuns: 200 },
    );
  });

  it('a new journal each time, and the shells the machine has', () => {
    const linux = readRegistration({ type: 'register', data: { id: 'a', os: 'Linux' } }, 'agent');
    const [one, other] = [helloOf('a', 'h', linux), helloOf('a', 'h', linux)];
    expect(one.journalId).not.toBe(other.journalId);
    expect(one).toMatchObject({
      hostname: 'h',
      shells: ['pwsh'],
      defaultShell: 'pwsh',
      capabilities: ['shell'],
    });
    const windows = readRegistration({ type: 'register', data: { hostname: 'w', os: 'Windows 11' } }, 'id');
    expect(helloOf('a', 'h', windows)).toMatchObject({
      hostname: 'w',
      shells: ['powershell'],
      capabilities: ['shell', 'elevate'],
    });
  });
});

describe('a result in any shape', () => {
  const good = { success: true, output: 'out', error: 'warn', execution_time: 1.5 };
  const expected = { commandId: id, outcome: 'succeeded', stdout: 'out', stderr: 'warn', durationMs: 1500 };

  it.each([
    ['A', { data: { command_id: id, agent_id: 'a', ...good, return_code: 0 } }],
    ['B', { data: { command_id: id, result: { command: 'x', ...good, exit_code: 0 } } }],
    ['C', { command_id: id, data: { ...good, exit_code: 0 } }],
    ['D', { command_id: id, ...good, exit_code: 0 }],
    ['D with another name of the id', { id, ...good, exit_code: '0' }],
  ])('%s', (_, frame) => {
    expect(resultOf({ type: 'command_result', ...frame })).toEqual({
      ...expected,
      exitCode: 0,
      reason: null,
    });
  });

  it('an answer to a request id: text, error, or what the output said as JSON', () => {
    const answer = (data: unknown, success: boolean) =>
      resultOf({ type: 'powershell_result', request_id: `ps_${id}`, data, success });
    expect(answer({ output: 'hi' }, true)).toMatchObject({
      commandId: id,
      outcome: 'succeeded',
      exitCode: null,
      stdout: 'hi',
    });
    expect(answer({ error: 'no' }, false)).toMatchObject({
      outcome: 'failed',
      reason: 'agent_reported_failure',
      stdout: '',
      stderr: 'no',
    });
    expect(answer([{ Name: 'x' }], true)).toMatchObject({ stdout: '[{"Name":"x"}]' });
    const mixed = { output: 'one', Other: 'two', exit_code: 7, error: 'field' };
    expect(answer(mixed, true)).toMatchObject({
      outcome: 'succeeded',
      exitCode: null,
      stdout: JSON.stringify(mixed),
      stderr: '',
    });
    expect(answer('bare', true)).toMatchObject({ stdout: 'bare' });
    expect(answer(42, true)).toMatchObject({ stdout: '42' });
  });

  it.each([
    [{ success: true, exit_code: 3 }, 'failed', 3],
    [{ success: false, exit_code: 0 }, 'failed', 0],
    [{ exit_code: 0 }, 'succeeded', 0],
    [{ exit_code: 1 }, 'failed', 1],
    [{ output: 'x' }, 'succeeded', null],
    [{ error: 'x' }, 'failed', null],
    [{ success: false, error: 'Command timed out after 30 seconds', exit_code: -1 }, 'timed_out', null],
    [{ success: false, error: 'Command timed out after 30 seconds', exit_code: 2 }, 'failed', 2],
    [{ success: true, exit_code: 1e20 }, 'succeeded', null],
    [{ success: true, execution_time: -5 }, 'succeeded', null],
  ])('%j is %s', (said, outcome, exitCode) => {
    expect(resultOf({ type: 'command_result', command_id: id, ...said })).toMatchObject({
      outcome,
      exitCode,
    });
  });

  it('of an id that is none of ours names no command; without an id it is malformed', () => {
    expect(resultOf({ type: 'command_result', command_id: 'x' }).commandId).toBeUndefined();
    expect(read({ type: 'command_result', data: { output: 'x' } })).toMatchObject({ kind: 'malformed' });
  });
});

describe('other frames', () => {
  it('heartbeats and system information, nested and flat', () => {
    const info = { cpu_percent: 5 };
    for (const frame of [
      { type: 'heartbeat', data: { system_info: info } },
      { type: 'heartbeat', agent_id: 'a', system_metrics: info },
      { type: 'system_info_update', data: info },
      { type: 'system_info', system_info: info },
    ]) {
      expect(read(frame)).toEqual({ kind: 'alive', systemInfo: info });
    }
    expect(read({ type: 'heartbeat', data: { timestamp: 1 } })).toEqual({
      kind: 'alive',
      systemInfo: undefined,
    });
    expect(read({ type: 'ping' })).toEqual({ kind: 'ping' });
    expect(read({ type: 'log', text: 'x' })).toEqual({ kind: 'other', frameType: 'log' });
  });

  it('whatever comes, reading it throws nothing', () => {
    const types = fc.constantFrom(
      'register',
      'command_result',
      'powershell_result',
      'heartbeat',
      'ping',
      'x',
    );
    fc.assert(
      fc.property(types, fc.dictionary(fc.string(), fc.jsonValue()), fc.jsonValue(), (type, frame, data) => {
        parseLegacyFrame(JSON.stringify({ command_id: id, ...frame, type, data }));
      }),
      { numRuns: 500 },
    );
    fc.assert(fc.property(fc.string(), (text) => void parseLegacyFrame(text)));
    const deep = `${'['.repeat(50_000)}${']'.repeat(50_000)}`;
    expect(
      parseLegacyFrame(`{"type":"powershell_result","request_id":"ps_${id}","success":true,"data":${deep}}`)
        .kind,
    ).toBe('result');
  });
});
