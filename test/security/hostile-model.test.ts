/** What a model writes may deceive the person who decides, the terminal or the database: it must not get there. */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { printProposal } from '../../cli/demo/print.ts';
import { printable } from '../../cli/demo/printable.ts';
import type { StepView, TaskView } from '../../contracts/tasks.ts';
import { insertUser } from '../../db/users.ts';
import { buildAct } from '../../domain/commands/act-request.ts';
import { riskOf } from '../../domain/tasks/risk.ts';
import { done, type House, startHouse } from '../support/house.ts';

let house: House;
let agentId: string;
beforeAll(async () => {
  house = await startHouse();
  agentId = await house.addAgent();
});
afterAll(() => house.close());

const newTask = (wish: object = {}, as?: string) => house.createTask({ target: { agentId }, ...wish }, as);
async function stepOf(taskId: string): Promise<StepView> {
  const { body } = await house.ask<{ items: StepView[] }>('GET', `/v1/tasks/${taskId}/steps`);
  const [step] = body.items;
  if (step === undefined) throw new Error('no step');
  return step;
}
const taskOf = async (id: string) => (await house.ask<TaskView>('GET', `/v1/tasks/${id}`)).body;

describe('a proposed command', () => {
  it.each([
    ['an escape sequence', 'rm -rf ~ \u001b[2K\u001b[1Als'],
    ['a carriage return that overwrites the line', 'rm -rf ~ #\rls     '],
    ['backspaces', `rm -rf ~${'\b'.repeat(8)}ls`],
    ['a C1 control sequence', 'ls \u009b2K'],
    ['NUL', 'ls \u0000'],
    ['half of a surrogate pair', 'ls \ud800'],
  ])('with %s is not taken: the task says so and nothing is proposed', async (_name, command) => {
    const task = await newTask();
    expect(await house.propose(task.id, 1, { command })).toMatchObject({ kind: 'ended', end: 'failed' });
    expect(await taskOf(task.id)).toMatchObject({
      state: 'failed',
      step: 0,
      result: { reason: 'llm_bad_answer' },
    });
  });

  it.each([
    ['right-to-left override', 'cat \u202etxt.exe', 'U+202E'],
    ['isolates', 'cat \u2066a\u2069', 'U+2066, U+2069'],
    ['a zero-width space', 'l\u200bs', 'U+200B'],
    ['a soft hyphen', 'l\u00ads', 'U+00AD'],
    ['tag characters', 'ls \u{e0072}\u{e006d}', 'U+E0072, U+E006D'],
    ['a Hangul filler', 'ls \u3164', 'U+3164'],
    ['a line separator', 'ls\u2028rm x', 'U+2028'],
  ])('with %s is dangerous and says which characters', async (_name, command, named) => {
    const task = await newTask();
    await house.propose(task.id, 1, { command });
    const { risk, text } = await stepOf(task.id);
    expect(text).toBe(command);
    expect(risk.label).toBe('dangerous');
    expect(risk.reasons[0]).toContain(named);
  });

  it('with line breaks, tabs and letters of any language is as it was', async () => {
    const task = await newTask();
    await house.propose(task.id, 1, { command: 'ls\n\tls größe 日本 \u{1f600}' });
    expect((await stepOf(task.id)).risk.reasons.join()).not.toContain('hide');
  });
});

it('a person cannot write such a command either', () => {
  const limits = { defaultTimeoutMs: 1_000, maxTimeoutMs: 1_000, outputCapBytes: 10 };
  const build = (request: object) => () => buildAct(request, limits, { shell: () => 'sh' });
  expect(build({ command: 'ls\u001b[2K' })).toThrow();
  expect(build({ argv: ['ls', 'a\rb'] })).toThrow();
  expect(build({ command: 'ls', workingDirectory: '/tmp\u001b[2K' })).toThrow();
  expect(build({ command: 'dir\r\necho x' })).not.toThrow();
});

it('prose of a model is stored without controls, however long it is', async () => {
  const task = await newTask();
  const nasty = `a\u0000b\u001b]0;title\u0007c\ud800${'x'.repeat(10 * 1024 * 1024)}`;
  await house.propose(task.id, 1, { reason: nasty, expectedEffect: nasty });
  const step = await stepOf(task.id);
  expect(step.reason.slice(0, 15)).toBe('a\ufffdb\ufffd]0;title\ufffdc\ufffd');
  expect(step.reason.length).toBeLessThan(10_000);
  const other = await newTask();
  await house.propose(other.id, 1, done(true, 'fine\u0000\u001b[31m'));
  expect(await taskOf(other.id)).toMatchObject({
    state: 'completed',
    result: { summary: 'fine\ufffd\ufffd[31m' },
  });
});

describe('a terminal', () => {
  it('is shown no control, bidirectional, zero-width or tag character', () => {
    const hostile = 'a\u001b[2J\u009b\u0007\r\u202eb\u200b\u2066\ufeff\u{e0041}\u00ad\ud800c\td\ne';
    expect(printable(hostile)).toBe('a·[2J····b·····\u00b7c\td\ne'.replace('\u00b7c', '·c'));
  });

  it('prints a proposal of a hostile model without any', async () => {
    const task = await newTask();
    await house.propose(task.id, 1, { command: 'cat \u202etxt.exe' });
    const step = {
      ...(await stepOf(task.id)),
      model: 'm\u001b[31m',
      reason: '\u001b[2J',
      expectedEffect: '\u0007',
    };
    const lines: string[] = [];
    const out = { print: (text = '') => void lines.push(text), style: (_: string, text: string) => text };
    printProposal(out as never, { ...step, mock: false });
    expect(lines.join('\n')).not.toMatch(/[^\P{C}\n]/u);
  });
});

describe('a command that was approved beforehand', () => {
  async function addUser(role: 'operator' | 'viewer'): Promise<string> {
    const id = randomUUID();
    const user = {
      id,
      username: `u-${id}`,
      canonicalName: `u-${id}`,
      email: null,
      canonicalEmail: null,
      role,
      passwordHash: 'x',
      mustChangePassword: false,
    };
    await insertUser(house.db, user);
    return id;
  }
  const auto = { mode: 'auto', preApproved: ['id'] };

  it('runs undecided while its creator may decide', async () => {
    const task = await newTask(auto, `operator:${await addUser('operator')}`);
    expect(await house.propose(task.id, 1, { command: 'id' })).toMatchObject({ kind: 'running' });
  });

  it.each([
    ['was disabled', { is_active: false }],
    ['was demoted', { role: 'user' }],
  ])('waits for a decision when its creator %s', async (_name, change) => {
    const id = await addUser('operator');
    const task = await newTask(auto, `operator:${id}`);
    await house.db('users').where({ id }).update(change);
    expect(await house.propose(task.id, 1, { command: 'id' })).toMatchObject({ kind: 'awaiting', step: 1 });
    expect(await stepOf(task.id)).toMatchObject({ decision: null, commands: [] });
  });
});

describe('what stands beside a command', () => {
  const limits = { defaultTimeoutMs: 1_000, maxTimeoutMs: 1_000, outputCapBytes: 10 };
  const riskOfRequest = (request: object) => riskOf(buildAct(request, limits, { shell: () => 'sh' }));
  const stdin = (text: string) => Buffer.from(text).toString('base64');

  it('is in the label, although the command does not show it', () => {
    expect(riskOfRequest({ command: 'ls' })).toEqual({ label: 'safe', reasons: [] });
    expect(riskOfRequest({ command: 'ls', environment: { LANG: 'C' } }).label).toBe('safe');
    expect(riskOfRequest({ command: 'ls', elevated: true })).toMatchObject({ label: 'caution' });
    expect(riskOfRequest({ command: 'ls', user: 'root' }).reasons.join()).toContain('root');
    expect(riskOfRequest({ command: 'ls', environment: { LD_PRELOAD: '/tmp/x.so' } }).label).toBe(
      'dangerous',
    );
    expect(riskOfRequest({ command: 'cat', stdin: stdin('hello') }).label).toBe('caution');
    const fed = riskOfRequest({ argv: ['sh'], stdin: stdin('rm -rf /') });
    expect(fed.label).toBe('dangerous');
    expect(fed.reasons.join()).toContain('standard input');
  });
});
