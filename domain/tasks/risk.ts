import type { Act } from '../../contracts/act.ts';
import type { RiskLabel } from '../../contracts/tasks.ts';
import { classifyCommand } from '../danger/classify.ts';
import { listHidden } from '../danger/unseen.ts';

interface Risk {
  label: RiskLabel;
  reasons: string[];
}

/** Longest standard input that is read as a script, bytes. */
const MAX_READ_STDIN_BYTES = 64 * 1024;

/** Variables that change which program runs, or have one run before it. */
const programVariable =
  /^(?:PATH|IFS|ENV|BASH_ENV|PROMPT_COMMAND|SHELLOPTS|BASHOPTS|LD_.*|DYLD_.*|GIT_.*|NODE_OPTIONS|PYTHON.*|PERL5?.*|RUBY.*|EDITOR|PAGER)$/;

const severity: Record<RiskLabel, number> = { safe: 0, caution: 1, dangerous: 2 };

/**
 * The danger label of an act. It labels, it never permits: what may run is decided by people and policy.
 * What stands beside the command is told as a reason, because the command alone does not show it.
 */
export function riskOf(act: Act): Risk {
  const ofCommand: Risk =
    act.mode === 'shell'
      ? classifyCommand({ mode: 'shell', shell: act.shell, text: act.script })
      : classifyCommand({ mode: 'argv', text: act.argv.join(' '), argv: act.argv });
  const all = [ofCommand, ...besideCommand(act)].sort((a, b) => severity[b.label] - severity[a.label]);
  return { label: all[0]?.label ?? 'safe', reasons: [...new Set(all.flatMap(({ reasons }) => reasons))] };
}

function besideCommand(act: Act): Risk[] {
  const found: Risk[] = [];
  const note = (label: RiskLabel, reason: string): void => void found.push({ label, reasons: [reason] });
  if (act.elevated) note('caution', 'it runs with elevated rights');
  if (act.user !== null) note('caution', `it runs as the user ${act.user.slice(0, 40)}`);
  if (act.workingDirectory !== null && listHidden(act.workingDirectory) !== undefined)
    note('dangerous', `its directory holds characters that hide: ${listHidden(act.workingDirectory)}`);
  for (const name of Object.keys(act.environment)) {
    if (programVariable.test(name)) note('dangerous', `its environment sets ${name.slice(0, 40)}`);
  }
  if (act.stdin !== null) {
    const bytes = Buffer.from(act.stdin, 'base64');
    note('caution', `it reads a standard input of ${bytes.length} bytes that is not shown`);
    // What a shell would be fed, or what may be fed to one later.
    const fed = classifyCommand({ mode: 'shell', text: bytes.subarray(0, MAX_READ_STDIN_BYTES).toString() });
    if (fed.label === 'dangerous')
      note('dangerous', `its standard input, read as a script: ${fed.reasons[0] ?? ''}`);
  }
  return found;
}
