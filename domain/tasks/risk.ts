import type { Act } from '../../contracts/act.ts';
import type { RiskLabel } from '../../contracts/tasks.ts';
import { classifyCommand } from '../danger/classify.ts';

/** The danger label of an act. It labels, it never permits: what may run is decided by people and policy. */
export function riskOf(act: Act): { label: RiskLabel; reasons: string[] } {
  return act.mode === 'shell'
    ? classifyCommand({ mode: 'shell', shell: act.shell, text: act.script })
    : classifyCommand({ mode: 'argv', text: act.argv.join(' '), argv: act.argv });
}
