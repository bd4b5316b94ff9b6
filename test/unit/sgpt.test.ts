/** Backends of prompts: which is chosen, how it is called, when it is left alone. */
import { describe, expect, it } from 'vitest';
import type { CliName } from '../../contracts/agent-protocol.ts';
import { cliBackends } from '../../domain/sgpt/backends.ts';
import {
  COOLDOWN_MS,
  createBackendCircuits,
  healthOf,
  MAX_FAILURE_STREAK,
} from '../../domain/sgpt/circuits.ts';
import { chooseBackend, type RouteWish, type Routing, taskKindOf } from '../../domain/sgpt/routing.ts';

const routing: Routing = {
  policyVersion: 'v2',
  configuredBackend: 'auto',
  defaultBackend: null,
  byTaskKind: {},
};
const wish: RouteWish = { requested: 'auto', taskKind: 'analysis', options: [], model: null };
const choose = (
  given: Partial<RouteWish>,
  installed: CliName[] = [],
  more: Partial<Routing> = {},
): string => {
  const can = (name: CliName): boolean => installed.includes(name);
  const { backend, reason } = chooseBackend({ ...routing, ...more }, { ...wish, ...given }, can);
  return `${backend} ${reason}`;
};

describe('the choice', () => {
  it('follows the request, then the configuration, then what is installed, then our own model', () => {
    expect(choose({ requested: 'aider' })).toBe('aider explicit_backend:aider');
    const policy = { byTaskKind: { coding: 'aider' }, defaultBackend: 'opencode' } as const;
    const all: CliName[] = ['sgpt', 'opencode', 'aider'];
    expect(choose({ taskKind: 'coding' }, all, policy)).toBe('aider task_kind_policy:coding->aider');
    expect(choose({}, all, policy)).toBe('opencode default_policy:opencode');
    expect(choose({ taskKind: 'coding' }, ['sgpt'], policy)).toBe('sgpt first_available:sgpt');
    expect(choose({}, [])).toBe('model no_backend_available:model');
  });

  it('passes by what does not take the options or a model, and refuses where nothing does', () => {
    expect(choose({ options: ['--shell'] }, ['aider', 'sgpt'])).toBe('sgpt first_available:sgpt');
    expect(choose({ model: 'x' }, ['mistral_code'])).toBe('model no_backend_available:model');
    expect(() => choose({ requested: 'aider', options: ['--shell', '--x'] })).toThrow(
      "Unsupported options for backend 'aider': ['--shell', '--x']",
    );
    expect(() => choose({ options: ['--shell'] })).toThrow(
      "Unsupported options for backend 'model': ['--shell']",
    );
    expect(() => choose({ requested: 'mistral_code', model: 'x' })).toThrow("'mistral_code' takes no model");
  });

  it('reads the kind of task from the words where it is not given', () => {
    expect(taskKindOf('Ops', 'fix it')).toBe('ops');
    expect(taskKindOf('nonsense', 'please fix the bug')).toBe('coding');
    expect(taskKindOf(null, 'restart the container')).toBe('ops');
    expect(taskKindOf(null, 'explain it')).toBe('doc');
    expect(taskKindOf(null, 'hello')).toBe('analysis');
  });
});

describe('the arguments', () => {
  it('keep a prompt from being read as an option, and no shell reads it', () => {
    const evil = '--exec=$(reboot)';
    expect(cliBackends.sgpt.act(evil, ['--md', '--no-interaction'], 'm').argv).toEqual([
      'sgpt',
      '--no-interaction',
      '--md',
      '--model',
      'm',
      ` ${evil}`,
    ]);
    expect(cliBackends.opencode.act(evil, [], null).argv).toEqual(['opencode', 'run', ` ${evil}`]);
    expect(cliBackends.aider.act(evil, [], null).argv?.at(-1)).toBe(`--message=${evil}`);
    expect(cliBackends.mistral_code.act('Grüße', [], null)).toEqual({
      argv: ['mistral-code'],
      stdin: Buffer.from('Grüße').toString('base64'),
    });
  });
});

describe('the circuit breaker', () => {
  it('opens after failures in a row, for a while, and for that backend alone', () => {
    let now = 1_000_000;
    const circuits = createBackendCircuits(() => now);
    for (let i = 1; i < MAX_FAILURE_STREAK; i++) circuits.failed('sgpt', 'no', 1);
    expect(circuits.isClosed('sgpt')).toBe(true);
    circuits.failed('sgpt', 'no', 1);
    expect(circuits.isClosed('sgpt')).toBe(false);
    expect(circuits.isClosed('aider')).toBe(true);
    expect(circuits.read('sgpt')).toMatchObject({ consecutiveFailures: 5, lastError: 'no' });
    expect(healthOf(circuits.read('sgpt'), true)).toBe(40);
    now += COOLDOWN_MS;
    expect(circuits.isClosed('sgpt')).toBe(true);
    circuits.failed('sgpt', 'no', 1);
    expect(circuits.isClosed('sgpt')).toBe(true);
    circuits.succeeded('sgpt', 12);
    expect(circuits.read('sgpt')).toMatchObject({
      consecutiveFailures: 0,
      totalSuccess: 1,
      totalFailures: 6,
    });
    expect(healthOf(circuits.read('nobody'), false)).toBe(20);
  });
});
