import type { CommandState } from '../../contracts/command-states.ts';
import type { DomainDeps } from '../deps.ts';
import { judgeQuality } from '../quality-gates.ts';
import { readGates } from '../step-policies.ts';

export interface LooseVerdict {
  status: 'completed' | 'failed';
  reason: string;
}

/** What an outcome that belongs to no task is worth: there are no words about it, so code is not looked for. */
export async function judgeLoose(
  deps: Pick<DomainDeps, 'db' | 'log'>,
  step: { state: CommandState; exitCode: number | null; output: string },
): Promise<LooseVerdict> {
  if (step.state !== 'succeeded' && step.state !== 'failed') return { status: 'failed', reason: step.state };
  const gates = await readGates(deps);
  const { isPassed, reason } = judgeQuality(gates, step, { title: '', goal: '' });
  const hasFailed = step.state === 'failed' || (gates.execute_enforce && !isPassed);
  return { status: hasFailed ? 'failed' : 'completed', reason };
}
