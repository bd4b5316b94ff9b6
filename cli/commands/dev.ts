import type { Command } from 'commander';
import { loadConfig } from '../../config.ts';
import { type CreatedAdmin, startDevelopment } from '../../stack/development.ts';
import { createConsole, createProblemPrinter, createProgressLog } from '../console.ts';
import { describeRunning, runUntilEnd, startOrGiveUp, stopOnInterrupt } from '../running.ts';

export function addDevCommand(program: Command): void {
  program
    .command('dev')
    .description('Run everything on this machine: PostgreSQL, Temporal, API, worker and a local agent')
    .addHelpText(
      'after',
      `
Data, keys and logs are kept in STEELTHREAD_HOME (default ~/.steelthread); the next start finds them again.
DATABASE_URL and TEMPORAL_ADDRESS name servers to use instead of starting some. Ports that are taken are replaced
by free ones. Ctrl-C stops everything in order, a second Ctrl-C leaves at once.`,
    )
    .action(runDev);
}

async function runDev(): Promise<void> {
  const config = loadConfig('dev');
  const out = createConsole();
  const interrupt = stopOnInterrupt(out);
  const progress = createProgressLog(out);
  let admin: CreatedAdmin | null = null;
  const development = await startOrGiveUp(interrupt, () =>
    startDevelopment({
      config,
      home: config.steelthreadHome,
      ephemeral: false,
      log: progress,
      onProblem: createProblemPrinter(out),
      onAdminCreated(created) {
        admin = created;
        // At once, since nobody could show it again if the start failed after this.
        out.print(
          `Administrator ${created.username} was made. Password, shown this once: ${created.password}`,
        );
      },
      signal: interrupt.signal,
    }),
  );
  out.print();
  out.box(describeRunning(out, { config, development, admin }));
  out.print();
  await runUntilEnd(interrupt, development);
}
