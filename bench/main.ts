/**
 * `npm run bench`: our paths against their peers, interleaved in one run on one machine. Ratios are what counts: an
 * absolute time on a busy machine means nothing. Writes bench/results/latest.json. `--quick` for a short look.
 * With names of sections (`npm run bench -- chat`) only these run, and write bench/results/<name>.json.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { cpus, totalmem } from 'node:os';
import { fileURLToPath } from 'node:url';
import { benchCommands } from './command.ts';
import { startInstallation } from './installation.ts';
import { benchLogins } from './logins.ts';
import { isSection, runSections, sectionNames } from './sections.ts';
import { printTable } from './statistics.ts';
import { benchTasks } from './task.ts';

const quick = process.argv.includes('--quick');
const named = process.argv.slice(2).filter((argument) => !argument.startsWith('--'));
for (const name of named) {
  if (!isSection(name))
    throw new Error(`no section is called ${name}; there are: ${sectionNames.join(', ')}`);
}
const resultsFolder = fileURLToPath(new URL('./results/', import.meta.url));

const startedAt = performance.now();
/** What happens now, on stderr: a run takes minutes. */
const report = (what: string): void => {
  process.stderr.write(`${((performance.now() - startedAt) / 1000).toFixed(1).padStart(6)} s  ${what}\n`);
};

report('starting Postgres, Temporal, API, worker, agent and peers');
const installation = await startInstallation();
if (named.length > 0) {
  try {
    await runSections(installation, report, { names: named.filter(isSection), quick, resultsFolder });
  } finally {
    await installation.stop();
  }
  process.exit();
}
try {
  const commands = await benchCommands(
    installation,
    report,
    quick ? { rounds: 1, samples: 50 } : { rounds: 3, samples: 150 },
  );
  const tasks = await benchTasks(
    installation,
    report,
    quick
      ? { rounds: 1, latencySamples: 15, throughputCount: 100 }
      : { rounds: 3, latencySamples: 30, throughputCount: 300 },
  );
  const logins = await benchLogins(
    installation,
    report,
    quick ? { rounds: 2, samples: 6, probes: 300 } : { rounds: 5, samples: 12, probes: 1_000 },
  );
  const ms = (value: number): string => `${value.toFixed(2)} ms`;
  const rate = (value: number): string => `${value.toFixed(1)} /s`;
  const verdict = (isMet: boolean): string => (isMet ? 'met' : 'NOT MET');
  const latencyRatio = tasks.task.latencyMs.p50 / tasks.raw.latencyMs.p50;
  const rateRatio = tasks.task.perSecond / tasks.raw.perSecond;
  const floorRatio = commands.command.p50 / commands.floor.p50;
  const rawRatio = commands.raw.p50 / commands.commandInRow.p50;
  const nameRatio = logins.unknownDifferenceMs / logins.sameDifferenceMs;
  const crowdRatio = logins.crowded.p99 / logins.idle.p99;
  printTable([
    {
      measured: '(a) task, one step, auto: latency p50',
      ours: ms(tasks.task.latencyMs.p50),
      peer: ms(tasks.raw.latencyMs.p50),
      'peer is': 'raw workflow, two activities',
      ratio: latencyRatio.toFixed(2),
      goal: '<= 2',
      verdict: verdict(latencyRatio <= 2),
    },
    {
      measured: '(a) task, 32 in flight: throughput',
      ours: rate(tasks.task.perSecond),
      peer: rate(tasks.raw.perSecond),
      'peer is': 'raw workflow, two activities',
      ratio: rateRatio.toFixed(2),
      goal: '>= 0.6',
      verdict: verdict(rateRatio >= 0.6),
    },
    {
      measured: '(b) ad-hoc command over HTTP: latency p50',
      ours: ms(commands.command.p50),
      peer: ms(commands.floor.p50),
      'peer is': 'bare Koa: insert, ws round trip, update',
      ratio: floorRatio.toFixed(2),
      goal: '<= 3',
      verdict: verdict(floorRatio <= 3),
    },
    {
      measured: '(b) ad-hoc command over HTTP: latency p50',
      ours: ms(commands.commandInRow.p50),
      peer: ms(commands.raw.p50),
      'peer is': 'raw workflow, one activity',
      ratio: `1/${rawRatio.toFixed(2)}`,
      goal: '<= 1/5',
      verdict: verdict(rawRatio >= 5),
    },
    {
      measured: '(c) wrong password, unknown name: difference',
      ours: ms(logins.unknownDifferenceMs),
      peer: ms(logins.sameDifferenceMs),
      'peer is': 'difference of two known names',
      ratio: nameRatio.toFixed(2),
      goal: '<= 2',
      verdict: verdict(nameRatio <= 2),
    },
    {
      measured: '(c) /livez while 100 log in: latency p99',
      ours: ms(logins.crowded.p99),
      peer: ms(logins.idle.p99),
      'peer is': '/livez while idle',
      ratio: crowdRatio.toFixed(2),
      goal: '<= 10',
      verdict: verdict(crowdRatio <= 10 && logins.isOrderly),
    },
  ]);
  await mkdir(resultsFolder, { recursive: true });
  const machine = {
    cpus: cpus().length,
    cpu: cpus()[0]?.model,
    memoryBytes: totalmem(),
    node: process.version,
  };
  const result = {
    at: new Date().toISOString(),
    quick,
    machine,
    tasks,
    commands,
    logins,
    ratios: { latencyRatio, rateRatio, floorRatio, rawRatio, nameRatio, crowdRatio },
  };
  await writeFile(`${resultsFolder}latest.json`, `${JSON.stringify(result, null, 2)}\n`);
  console.log(`\nWritten to bench/results/latest.json`);
  await runSections(installation, report, { names: sectionNames, quick, resultsFolder });
} finally {
  await installation.stop();
}
