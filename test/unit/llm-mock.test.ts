import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { classifyCommand } from '../../domain/danger/classify.ts';
import { readGoal } from '../../llm/mock/goals.ts';
import { createMockPort } from '../../llm/mock.ts';
import type { EarlierStep, ProposeAnswer, ProposeRequest } from '../../llm/port.ts';

const port = createMockPort();

function propose(goal: string, history: EarlierStep[] = [], shells = ['sh', 'bash']): Promise<ProposeAnswer> {
  const request: ProposeRequest = {
    task: { id: 't', runNo: 1, title: 'x', goal },
    step: history.length + 1,
    maxSteps: 25,
    agent: { id: 'a', hostname: 'h', os: 'Linux', shells, defaultShell: shells[0] ?? 'sh' },
    history,
    actor: { principalId: 'p' },
  };
  return port.propose(request, { signal: new AbortController().signal });
}

function step(
  command: string,
  overrides: Partial<EarlierStep> = {},
  result: { stdout?: string; exitCode?: number; stderr?: string } = {},
): EarlierStep {
  const exitCode = result.exitCode ?? 0;
  return {
    step: 1,
    command,
    shell: null,
    reason: 'r',
    decision: 'approve',
    decisionReason: null,
    editedFrom: null,
    outcome: {
      state: exitCode === 0 ? 'succeeded' : 'failed',
      exitCode,
      stdout: result.stdout ?? '',
      stderr: result.stderr ?? '',
      stdoutTruncated: false,
      stderrTruncated: false,
    },
    ...overrides,
  };
}

async function command(answer: Promise<ProposeAnswer>): Promise<string> {
  const given = await answer;
  if (given.kind !== 'command') throw new Error(`expected a command, got: ${given.summary}`);
  return given.command;
}

/** Runs what is proposed for real until the task is done. */
async function play(
  goal: string,
  cwd: string,
): Promise<{ steps: EarlierStep[]; end: Extract<ProposeAnswer, { kind: 'done' }> }> {
  const steps: EarlierStep[] = [];
  for (let number = 1; number <= 10; number += 1) {
    const answer = await propose(goal, steps);
    if (answer.kind === 'done') return { steps, end: answer };
    expect(answer.reason).toMatch(/^\[mock model\] /);
    const { stdout, stderr, status } = spawnSync('sh', ['-c', answer.command], {
      cwd,
      encoding: 'utf8',
      env: { PATH: process.env.PATH, HOME: cwd },
    });
    steps.push(step(answer.command, { step: number }, { stdout, stderr, exitCode: status ?? 1 }));
  }
  throw new Error('it does not come to an end');
}

describe('goals', () => {
  it.each([
    ['run `true`', { kind: 'literal', commands: ['true'] }],
    ['Please run `a b` and then `c`', { kind: 'literal', commands: ['a b', 'c'] }],
    ['`uptime`', { kind: 'literal', commands: ['uptime'] }],
    ['run: echo a then echo b, then echo c', { kind: 'literal', commands: ['echo a', 'echo b', 'echo c'] }],
    ['show the disk usage', { kind: 'disk' }],
    ['how much memory is free?', { kind: 'memory' }],
    ['What is the uptime?', { kind: 'uptime' }],
    ['list the running processes', { kind: 'processes' }],
    ['list the files in /var/log.', { kind: 'list', path: '/var/log' }],
    ['list the files here', { kind: 'list', path: '.' }],
    ['search for "needle" here', { kind: 'search', text: 'needle' }],
    ['find files containing TODO', { kind: 'search', text: 'TODO' }],
    [
      'how many lines of python are here',
      { kind: 'count-lines', files: { label: 'python files', extensions: ['py'] } },
    ],
    ['count the .md files', { kind: 'count-files', files: { label: '.md files', extensions: ['md'] } }],
    ['make me a sandwich', { kind: 'unknown' }],
  ])('%s', (goal, expected) => {
    expect(readGoal(goal)).toEqual(expected);
  });

  it('the five largest source files', () => {
    expect(readGoal('find the five largest source files here and their total line count')).toMatchObject({
      kind: 'largest',
      count: 5,
      countLines: true,
      files: { label: 'source files' },
    });
    expect(readGoal('the 3 biggest typescript files')).toMatchObject({ count: 3, countLines: false });
    expect(readGoal('which is the largest file?')).toMatchObject({ count: 1, files: { extensions: [] } });
  });
});

describe('played for real', () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'mock-model-'));
    mkdirSync(join(folder, 'node_modules/big'), { recursive: true });
    mkdirSync(join(folder, 'src'));
    writeFileSync(join(folder, 'node_modules/big/huge.js'), 'x\n'.repeat(9999));
    writeFileSync(join(folder, 'notes.txt'), 'x\n'.repeat(8888));
    for (let size = 1; size <= 6; size += 1)
      writeFileSync(join(folder, `src/f${size}.ts`), 'line\n'.repeat(size));
    writeFileSync(join(folder, "src/it's a $(file); rm.ts"), 'needle\n'.repeat(10));
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  const demoGoal = 'find the five largest source files here and their total line count';

  it.each([true, false])('the demo goal, in a git repository: %s', async (isRepository) => {
    if (isRepository) execFileSync('git', ['init', '-q'], { cwd: folder });
    const { steps, end } = await play(demoGoal, folder);
    expect(steps.length).toBe(isRepository ? 2 : 3);
    expect(steps.at(-1)?.command).toContain("'src/".replace('src/', isRepository ? 'src/' : './src/'));
    for (const { command: line } of steps)
      expect(classifyCommand({ mode: 'shell', shell: 'sh', text: line }).label).toBe('safe');
    expect(end.success).toBe(true);
    expect(end.summary).toContain("it's a $(file); rm.ts (70 bytes, 10 lines)");
    expect(end.summary).toContain('Together they have 28 lines.'); // 10 + 6 + 5 + 4 + 3
    expect(end.summary).not.toContain('huge.js');
    expect(end.usage).toMatchObject({ mock: true, model: 'mock', costUsd: 0 });
  });

  it.each([
    ['how many lines of typescript are here', 'There are 31 lines of typescript files.'],
    ['count the .ts files', 'There are 7 .ts files.'],
    ['find files containing "needle"', '"needle" was found in 10 places'],
    ['run: echo one then echo two', '"echo two" ended with exit code 0 and printed "two".'],
  ])('%s', async (goal, expected) => {
    const { end } = await play(goal, folder);
    expect(end).toMatchObject({ success: true });
    expect(end.summary).toContain(expected);
  });

  it('a goal it does not know: looks, then says so', async () => {
    const { steps, end } = await play('make me a sandwich', folder);
    expect(steps).toHaveLength(1);
    expect(end).toMatchObject({ success: false });
    expect(end.summary).toMatch(/^\[mock model\] The mock model cannot plan this goal/);
  });
});

describe('decisions and failures', () => {
  it('run `true` is one command, then done', async () => {
    expect(await command(propose('run `true`'))).toBe('true');
    expect(await propose('run `true`', [step('true')])).toMatchObject({ kind: 'done', success: true });
  });

  it('a literal command that fails ends the task with what it said', async () => {
    const end = await propose('run `false`', [step('false', {}, { exitCode: 3, stderr: 'boom\n' })]);
    expect(end).toMatchObject({ kind: 'done', success: false });
    expect(end.kind === 'done' && end.summary).toMatch(/exit code 3 and said "boom"/);
  });

  it('a rejected command is answered by another, with the reason told', async () => {
    const first = await command(propose('show the memory'));
    const rejected = step(first, { decision: 'reject', decisionReason: 'not this', outcome: null });
    const second = await propose('show the memory', [rejected]);
    expect(second).toMatchObject({
      kind: 'command',
      reason: expect.stringContaining('step 1 was rejected ("not this")'),
    });
    expect(second.kind === 'command' && second.command).not.toBe(first);
  });

  it('gives up when everything was rejected', async () => {
    const rejected = (text: string) => step(text, { decision: 'reject', outcome: null });
    expect(await propose('show the disk', [rejected('df -h'), rejected('df -k')])).toMatchObject({
      kind: 'done',
      success: false,
    });
  });

  it('a failed command is answered by another', async () => {
    const answer = await propose('show the memory', [
      step('free -m', {}, { exitCode: 127, stderr: 'free: not found' }),
    ]);
    expect(answer).toMatchObject({
      kind: 'command',
      command: 'cat /proc/meminfo',
      reason: expect.stringContaining('exit code 127'),
    });
  });

  it('an edited command counts by its own output, and is acknowledged', async () => {
    const goal = 'find the 2 largest source files and count their lines';
    const edited = step(
      'wc -c a.ts',
      { decision: 'edit', editedFrom: 'something' },
      { stdout: ' 10 a.ts\n' },
    );
    expect(await propose(goal, [edited])).toMatchObject({
      kind: 'command',
      command: 'wc -l -- a.ts',
      reason: expect.stringContaining('the edited command was used'),
    });
  });

  it('a withdrawn proposal is made again', async () => {
    const answer = await propose('run `true`', [step('true', { decision: 'void', outcome: null })]);
    expect(answer).toMatchObject({ kind: 'command', command: 'true' });
  });

  it('an unknown outcome is not repeated blindly', async () => {
    const lost = step('true', {});
    const unknown = {
      ...lost,
      outcome: lost.outcome && { ...lost.outcome, state: 'unknown', exitCode: null },
    };
    expect(await propose('run `true`', [unknown])).toMatchObject({ kind: 'done', success: false });
  });

  it('names a POSIX shell when the default is another, and says so when there is none', async () => {
    expect(await propose('show the disk', [], ['pwsh', 'bash'])).toMatchObject({
      kind: 'command',
      shell: 'bash',
    });
    expect(await propose('show the disk', [], ['powershell'])).toMatchObject({
      kind: 'done',
      success: false,
    });
  });

  it('waits, and stops waiting when aborted', async () => {
    const slow = createMockPort({ delayMs: 60_000 });
    const controller = new AbortController();
    const request: ProposeRequest = {
      task: { id: 't', runNo: 1, title: '', goal: 'x' },
      step: 1,
      maxSteps: 2,
      agent: { id: 'a', hostname: 'h', os: 'Linux', shells: ['sh'], defaultShell: 'sh' },
      history: [],
      actor: { principalId: 'p' },
    };
    const answer = slow.propose(request, { signal: controller.signal });
    const reason = new Error('canceled');
    controller.abort(reason);
    await expect(answer).rejects.toBe(reason);
  });
});
