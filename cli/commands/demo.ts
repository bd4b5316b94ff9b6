import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Command } from 'commander';
import { type Config, generateKey, keepSecret, loadConfig } from '../../config.ts';
import { type Development, startDevelopment } from '../../stack/development.ts';
import { type Console, createConsole, createProblemPrinter, createProgressLog } from '../console.ts';
import { type Story, tellStory } from '../demo/story.ts';
import { CommandError, exitCodes } from '../exit-codes.ts';
import type { Interrupt } from '../interrupt.ts';
import { describeRunning, runUntilEnd, startOrGiveUp, stopOnInterrupt } from '../running.ts';

const GOAL = 'find the five largest source files here and their total line count';

interface Options {
  keep?: boolean;
  json?: boolean;
  goal: string;
}

export function addDemoCommand(program: Command): void {
  program
    .command('demo')
    .description('Start everything, run one real task on this folder from words to result, and stop')
    .option('--keep', 'keep everything running afterwards until Ctrl-C (data in STEELTHREAD_HOME/demo)')
    .option('--json', 'print the task, its steps and its timeline as JSON; the story goes to standard error')
    .option('--goal <text>', 'what to do, in plain words', GOAL)
    .addHelpText(
      'after',
      `
The commands run in the current folder. Claude proposes them when ANTHROPIC_API_KEY is set, otherwise a mock model,
which says so. The demo approves every proposal: give --goal with care.`,
    )
    .action(runDemo);
}

async function runDemo({ keep = false, json = false, goal }: Options): Promise<void> {
  const config = loadConfig('demo');
  const out = createConsole(json ? process.stderr : process.stdout);
  const home = keep ? join(config.steelthreadHome, 'demo') : mkdtempSync(join(tmpdir(), 'steelthread-demo-'));
  const interrupt = stopOnInterrupt(out);
  // Leaving at once skips every `finally`.
  if (!keep) process.once('exit', () => rmSync(home, { recursive: true, force: true }));
  const admin = {
    username: config.adminUsername,
    password:
      config.adminPassword ?? (keep ? keepSecret(home, 'admin-password', generateKey) : generateKey()),
  };

  out.print(out.style('bold', 'Steelthread demo'));
  out.print(`Model: ${describeModel(config)}. Folder: ${process.cwd()}`);
  out.print();
  const development = await startOrGiveUp(interrupt, () =>
    startDevelopment({
      config,
      home,
      ephemeral: !keep,
      log: createProgressLog(out),
      onProblem: createProblemPrinter(out),
      agentWorkDir: process.cwd(),
      env: {
        ADMIN_PASSWORD: admin.password,
        // So that a Temporal server that others use hands these tasks to this worker alone.
        ...(keep ? {} : { TEMPORAL_TASK_QUEUE: `demo-${process.pid}-${Date.now()}` }),
      },
      signal: interrupt.signal,
    }),
  );
  out.print();
  try {
    const story = await tellOrExplain({ out, development, interrupt, admin, config }, goal);
    if (json) process.stdout.write(`${JSON.stringify(story, null, 2)}\n`);
    if (keep) {
      out.box(describeRunning(out, { config, development, admin }));
      await runUntilEnd(interrupt, development);
    }
    if (story.task.state !== 'completed') throw new CommandError(`The task ended ${story.task.state}.`);
  } finally {
    await development.stop();
  }
}

function describeModel(config: Config): string {
  return config.anthropicApiKey === null
    ? 'mock model, a small rule-based planner (set ANTHROPIC_API_KEY for Claude)'
    : config.anthropicModel;
}

interface Telling {
  out: Console;
  development: Development;
  interrupt: Interrupt;
  admin: { username: string; password: string };
  config: Config;
}

/** @throws CommandError with what the programs said last when the story does not come to its end */
async function tellOrExplain(telling: Telling, goal: string): Promise<Story> {
  const { out, development, interrupt, admin, config } = telling;
  const ended = new AbortController();
  void development.done.then(() => ended.abort(new Error('a part of the system ended by itself')));
  const signal = AbortSignal.any([interrupt.signal, ended.signal]);
  try {
    const { url, agentId } = development;
    return await tellStory({ url, out, admin, agentId, signal }, goal);
  } catch (error) {
    if (interrupt.signal.aborted) throw new CommandError('Stopped.', { exitCode: exitCodes.interrupted });
    const reason = error instanceof Error ? error.message : String(error);
    const hint =
      config.databaseUrl !== null && /invalid_credentials|answered 401/.test(reason) ? LOGIN_HINT : '';
    throw new CommandError(`The demo failed: ${reason}${hint}\n${development.tails()}`, { cause: error });
  }
}

const LOGIN_HINT =
  '\nThe database of DATABASE_URL has an administrator already: set ADMIN_USERNAME and ADMIN_PASSWORD, or unset DATABASE_URL.';
