/** What `dev` and `demo --keep` share: starting with a way out, staying up, saying what runs where. */
import type { Config } from '../config.ts';
import type { CreatedAdmin, Development } from '../stack/development.ts';
import type { Console } from './console.ts';
import { CommandError, exitCodes } from './exit-codes.ts';
import { type Interrupt, listenForInterrupt } from './interrupt.ts';

/** Tells what Ctrl-C does when it comes. */
export function stopOnInterrupt(out: Console): Interrupt {
  return listenForInterrupt({
    first: () => out.print('\nStopping everything in order (Ctrl-C again leaves at once) …'),
    second: () => out.print('Left at once; what still runs is ended in the background.'),
  });
}

/** @throws CommandError: `interrupted` when the start was given up on request, else why it failed */
export async function startOrGiveUp<T>(interrupt: Interrupt, start: () => Promise<T>): Promise<T> {
  try {
    return await start();
  } catch (error) {
    if (interrupt.signal.aborted) throw new CommandError('Stopped.', { exitCode: exitCodes.interrupted });
    throw new CommandError(error instanceof Error ? error.message : String(error), { cause: error });
  }
}

/** Waits for Ctrl-C, or for the end of a part. @throws CommandError when a part ended by itself */
export async function runUntilEnd(interrupt: Interrupt, development: Development): Promise<void> {
  await Promise.race([interrupt.requested, development.done]);
  await development.stop();
  const { failed } = await development.done;
  if (failed === null) return;
  throw new CommandError(
    `${failed} ended by itself, so everything was stopped. Logs: ${development.logsDir}`,
  );
}

/** Lines for a box: where everything is, and how to get in. */
export function describeRunning(
  out: Console,
  { config, development, admin }: { config: Config; development: Development; admin: CreatedAdmin | null },
): string[] {
  const { url, temporalUiUrl, agentId, logsDir } = development;
  const row = (name: string, text: string): string => `${out.style('dim', name.padEnd(15))}${text}`;
  const isMock = config.anthropicApiKey === null;
  return [
    out.style('bold', 'Steelthread is running'),
    '',
    row('API', url),
    row('Documentation', `${url}/docs`),
    row('Temporal UI', temporalUiUrl ?? `that of ${config.temporalAddress}`),
    row('Local agent', agentId),
    row('Model', isMock ? 'mock model (ANTHROPIC_API_KEY is not set)' : config.anthropicModel),
    row('Data and logs', logsDir.replace(/[\\/]logs$/, '')),
    '',
    ...(admin === null
      ? [row('Log in as', `${config.adminUsername}, password of the first start or set since`)]
      : [
          row('Log in as', out.style('bold', admin.username)),
          row('Password', out.style('bold', admin.password)),
        ]),
    '',
    row('Stop', 'Ctrl-C'),
  ];
}
