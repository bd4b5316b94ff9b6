/** The DexAgent family's synchronous execute, answered when the outcome is stored, against the floor of one command. */
import { startFloor } from '../command.ts';
import type { Installation } from '../installation.ts';
import { type Figures, figuresOf, timeMs } from '../statistics.ts';

export interface SyncFigures {
  ours: Figures;
  floor: Figures;
}

/** Servers run for days: the compilers want some hundred calls. */
const WARM_UP_CALLS = 200;

export async function benchSync(
  installation: Installation,
  report: (what: string) => void,
  scale: { rounds: number; samples: number },
): Promise<SyncFigures> {
  const floor = await startFloor(installation);
  const path = `/api/v1/commands/agent/${installation.agentId}/execute`;
  const execute = async (): Promise<void> => {
    const reply = await installation.call<{ success: boolean }>('POST', path, {
      command: 'true',
      timeout: 10,
    });
    if (!reply.success) throw new Error(`it did not succeed: ${JSON.stringify(reply)}`);
  };
  report('synchronous execute: warming up');
  for (let i = 0; i < WARM_UP_CALLS; i++) await Promise.all([execute(), floor.run()]);
  const samples = { ours: [] as number[], floor: [] as number[] };
  for (let round = 0; round < scale.rounds; round++) {
    report(`synchronous execute: round ${round + 1} of ${scale.rounds}`);
    for (let done = 0; done < scale.samples; done++) {
      // Call by call, as the ad-hoc command of (b) against the same floor.
      samples.floor.push(await timeMs(floor.run));
      samples.ours.push(await timeMs(execute));
    }
  }
  return { ours: figuresOf(samples.ours), floor: figuresOf(samples.floor) };
}
