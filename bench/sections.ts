/** Measurements with a name of their own: `npm run bench -- <name>`. Each writes bench/results/<name>.json. */
import { mkdir, writeFile } from 'node:fs/promises';
import { cpus, totalmem } from 'node:os';
import { benchChat } from './chat.ts';
import { benchEtags } from './etag.ts';
import { fleetSections } from './fleet/sections.ts';
import type { Installation } from './installation.ts';
import { benchLists } from './lists.ts';
import { benchSchedules } from './schedules.ts';
import { figuresOf, printTable } from './statistics.ts';
import { benchTerminals } from './terminal.ts';

interface SectionResult {
  /** For the table. */
  rows: Record<string, string>[];
  figures: object;
}

type Section = (
  installation: Installation,
  report: (what: string) => void,
  quick: boolean,
) => Promise<SectionResult>;

/** A 304 against a 200, in requests per second. */
const ETAG_GOAL = 10;
/** A page of ours against one of hand-written SQL. */
const LISTS_GOAL = 1.5;
/** Schedules due in one second against plain workflows: runs begun per second. */
const SCHEDULES_GOAL = 0.5;
/** Added latency of a token, milliseconds. */
const CHAT_GOAL_MS = 0.5;
/** A terminal against a bare pipe: bytes a second, and the time to an echo. */
const TERMINAL_SPEED_GOAL = 0.8;
const TERMINAL_ECHO_GOAL = 1.5;

const sections = {
  async chat(installation, report, quick) {
    const scale = quick
      ? { rounds: 2, aloneTokens: 200, crowdTokens: 20 }
      : { rounds: 4, aloneTokens: 600, crowdTokens: 40 };
    const figures = await benchChat(installation, report, scale);
    const row = (what: string, { ours, pipe, addedMs }: typeof figures.alone) => ({
      measured: `(d) chat, ${what}: latency of a token p50`,
      ours: ms(ours.p50),
      peer: ms(pipe.p50),
      'peer is': 'bare pipe',
      added: addedMs === null ? '-' : ms(addedMs),
      goal: `<= ${CHAT_GOAL_MS} ms`,
      verdict: addedMs === null ? 'NOT MEASURED' : addedMs <= CHAT_GOAL_MS ? 'met' : 'NOT MET',
    });
    const rows = [
      row('one stream', figures.alone),
      row(`${figures.crowd.streams} streams at once`, figures.crowd),
    ];
    return { rows, figures };
  },
  async etag(installation, report, quick) {
    const scale = quick
      ? { rounds: 2, full: 30, notModified: 500 }
      : { rounds: 3, full: 40, notModified: 2_000 };
    const figures = await benchEtags(installation, report, scale);
    const { jobs, fullPerSecond, notModifiedPerSecond } = figures;
    const ratio = notModifiedPerSecond / fullPerSecond;
    const row = {
      measured: `(e) list of ${jobs} jobs, not modified: throughput`,
      ours: rate(notModifiedPerSecond),
      peer: rate(fullPerSecond),
      'peer is': 'the same list, sent',
      ratio: ratio.toFixed(1),
      goal: `>= ${ETAG_GOAL}`,
      verdict: ratio >= ETAG_GOAL ? 'met' : 'NOT MET',
    };
    return { rows: [row], figures: { ...figures, ratio } };
  },
  async lists(installation, report, quick) {
    const scale = quick ? { rounds: 2, samples: 150 } : { rounds: 5, samples: 400 };
    const figures = await benchLists(installation, report, scale);
    const row = (what: string, { ours, peer, ratio }: typeof figures.first) => ({
      measured: `(f) ${what} of ${figures.tasks} tasks: latency p50`,
      ours: ms(ours.p50),
      peer: ms(peer.p50),
      'peer is': 'hand-written SQL, bare Koa',
      ratio: ratio.toFixed(2),
      goal: `<= ${LISTS_GOAL}`,
      verdict: ratio <= LISTS_GOAL ? 'met' : 'NOT MET',
    });
    const rows = [row('first page', figures.first), row(`page ${figures.deepPage}`, figures.deep)];
    return { rows, figures };
  },
  async terminal(installation, report, quick) {
    const scale = quick
      ? { rounds: 2, mebibytes: 32, samples: 500 }
      : { rounds: 7, mebibytes: 100, samples: 1_000 };
    const figures = await benchTerminals(installation, report, scale);
    const { ours, peer } = figures;
    const shared = { 'peer is': 'node-pty and ws, nothing between' };
    const speed = (values: readonly number[]): string => `${figuresOf(values).p50.toFixed(1)} MiB/s`;
    const echo = (what: 'p50' | 'p99', ratio: number) => ({
      measured: `(g) terminal, key to echo: ${what}`,
      ours: ms(ours.echoMs[what]),
      peer: ms(peer.echoMs[what]),
      ...shared,
      ratio: ratio.toFixed(2),
      goal: `<= ${TERMINAL_ECHO_GOAL}`,
      verdict: ratio <= TERMINAL_ECHO_GOAL ? 'met' : 'NOT MET',
    });
    const throughput = {
      measured: `(g) terminal, ${figures.mebibytes} MiB printed: throughput`,
      ours: speed(ours.mebibytesPerSecond),
      peer: speed(peer.mebibytesPerSecond),
      ...shared,
      ratio: figures.throughputRatio.toFixed(2),
      goal: `>= ${TERMINAL_SPEED_GOAL}`,
      verdict: figures.throughputRatio >= TERMINAL_SPEED_GOAL ? 'met' : 'NOT MET',
    };
    return {
      rows: [throughput, echo('p50', figures.echoP50Ratio), echo('p99', figures.echoP99Ratio)],
      figures,
    };
  },
  async schedules(installation, report, quick) {
    const scale = quick ? { count: 200, rawCount: 200 } : { count: 1_000, rawCount: 500 };
    const figures = await benchSchedules(installation, report, scale);
    const ratio = figures.drainPerSecond / figures.rawPerSecond;
    const { min, max } = figures.runsPerSchedule;
    const row = {
      measured: `(h) ${figures.schedules} schedules due at once: runs begun`,
      ours: rate(figures.drainPerSecond),
      peer: rate(figures.rawPerSecond),
      'peer is': 'raw workflow, one activity',
      ratio: ratio.toFixed(2),
      goal: `>= ${SCHEDULES_GOAL}`,
      verdict: ratio >= SCHEDULES_GOAL && min === 1 && max === 1 ? 'met' : 'NOT MET',
    };
    return { rows: [row], figures: { ...figures, ratio } };
  },
  ...fleetSections,
} satisfies Record<string, Section>;

type SectionName = keyof typeof sections;

export const sectionNames = Object.keys(sections) as SectionName[];
export const isSection = (name: string): name is SectionName => Object.hasOwn(sections, name);

/** One after another; one that fails does not take the others with it. @throws with those that failed */
export async function runSections(
  installation: Installation,
  report: (what: string) => void,
  { names, quick, resultsFolder }: { names: readonly SectionName[]; quick: boolean; resultsFolder: string },
): Promise<void> {
  await mkdir(resultsFolder, { recursive: true });
  const machine = {
    cpus: cpus().length,
    cpu: cpus()[0]?.model,
    memoryBytes: totalmem(),
    node: process.version,
  };
  const failures: unknown[] = [];
  for (const name of names) {
    try {
      const { rows, figures } = await sections[name](installation, report, quick);
      printTable(rows);
      const result = { at: new Date().toISOString(), quick, machine, ...figures };
      await writeFile(`${resultsFolder}${name}.json`, `${JSON.stringify(result, null, 2)}\n`);
      console.log(`\nWritten to bench/results/${name}.json`);
    } catch (error) {
      report(`${name}: FAILED, ${error instanceof Error ? error.message : error}`);
      failures.push(error);
    }
  }
  if (failures.length > 0) throw new AggregateError(failures, `${failures.length} sections failed`);
}

const rate = (value: number): string => `${value.toFixed(1)} /s`;
const ms = (value: number): string => `${value.toFixed(2)} ms`;
