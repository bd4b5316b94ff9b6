/** How the demo shows proposals, ends and the timeline. Everything another party wrote passes `printable`. */
import type { OutputEnd } from '../../contracts/command-routes.ts';
import type { RiskLabel, StepView, TaskView, TimelineItem } from '../../contracts/tasks.ts';
import type { Console } from '../console.ts';
import { describeDuration, oneLine, printable } from './printable.ts';

const DIGEST_SHOWN = 12;
const WHAT_WIDTH = 72;
const WHO_WIDTH = 40;

const riskStyles: Record<RiskLabel, 'green' | 'yellow' | 'red'> = {
  safe: 'green',
  caution: 'yellow',
  dangerous: 'red',
};

export function printProposal(out: Console, step: StepView): void {
  const { label, reasons } = step.risk;
  const risk = [out.style(riskStyles[label], label), ...reasons.map(printable)].join(' · ');
  const row = (name: string, text: string): void => out.print(`  ${out.style('dim', name.padEnd(9))}${text}`);
  out.print();
  out.print(out.style('bold', `Step ${step.step}`));
  row('proposed', printable(`by ${step.mock ? 'mock model' : (step.model ?? step.author.name)}`));
  row('command', out.style('cyan', printable(step.text).replaceAll('\n', `\n${' '.repeat(11)}`)));
  for (const [name, text] of specials(step.act)) row(name, printable(text));
  row('reason', printable(step.reason));
  row('expects', printable(step.expectedEffect));
  row('risk', risk);
  row('on', step.agentIds.join(', '));
  row('digest', `${step.digest.slice(0, DIGEST_SHOWN)}…`);
}

/** What a command runs with beside its text, where it is not the default: what is approved must be seen. */
function specials(act: StepView['act']): [name: string, text: string][] {
  const all: [string, string | null][] = [
    ['stdin', act.stdin === null ? null : `${Buffer.byteLength(act.stdin, 'base64')} bytes`],
    ['in', act.workingDirectory],
    [
      'with',
      Object.entries(act.environment)
        .map((pair) => pair.join('='))
        .join(' ') || null,
    ],
    ['as', act.user],
    ['elevated', act.elevated ? 'yes' : null],
  ];
  return all.flatMap(([name, text]) => (text === null ? [] : [[name, text]]));
}

export function printEnd(out: Console, end: OutputEnd): void {
  const isGood = end.state === 'succeeded';
  const code = end.exitCode === null ? '' : `, exit code ${end.exitCode}`;
  const took = end.durationMs === null ? '' : ` in ${describeDuration(end.durationMs)}`;
  const text = `${end.state}${code}${took}`;
  out.print(`  ${isGood ? out.style('green', '✓') : out.style('red', '✗')} ${text}`);
}

export function printTimeline(out: Console, items: readonly TimelineItem[]): void {
  const rows = items.map((item) => [
    item.at.slice(11, 23),
    nameOf(item),
    describe(item),
    cell(item.details.exitCode),
    typeof item.details.durationMs === 'number' ? describeDuration(item.details.durationMs) : '',
  ]);
  out.print();
  out.print(out.style('bold', 'Timeline'));
  printTable(out, ['time (UTC)', 'who', 'what', 'exit', 'duration'], rows);
}

function nameOf({ actor, agentId, details }: TimelineItem): string {
  if (details.mock === true) return 'mock model';
  return oneLine(actor?.name ?? (agentId === null ? 'steelthread' : `agent ${agentId}`), WHO_WIDTH);
}

const decisionWords: Readonly<Record<string, string>> = {
  approve: 'approved',
  edit: 'edited and approved',
  reject: 'rejected',
  void: 'made void',
  expire: 'not decided in time',
  cancel: 'canceled',
};

function describe({ type, step, summary }: TimelineItem): string {
  const words = [step === null ? '' : `step ${step}`, decisionWords[type] ?? type.replaceAll('_', ' ')]
    .filter(Boolean)
    .join(' ');
  return oneLine(summary === '' ? words : `${words}: ${summary}`, WHAT_WIDTH);
}

function cell(value: unknown): string {
  return typeof value === 'number' ? String(value) : '';
}

function printTable(out: Console, head: string[], rows: string[][]): void {
  const widths = head.map((name, column) =>
    Math.max(name.length, ...rows.map((row) => row[column]?.length ?? 0)),
  );
  const line = (cells: string[]): string =>
    `  ${cells.map((text, column) => text.padEnd(widths[column] ?? 0)).join('  ')}`.trimEnd();
  out.print(out.style('dim', line(head)));
  out.print(out.style('dim', `  ${widths.map((width) => '─'.repeat(width)).join('──')}`));
  for (const row of rows) out.print(line(row));
}

export function printResult(out: Console, task: TaskView, steps: readonly StepView[]): void {
  const isGood = task.state === 'completed' && task.result?.success === true;
  const costUsd = steps.reduce((sum, step) => sum + step.usage.costUsd, 0);
  const summary = printable(task.result?.summary ?? '').trimEnd();
  out.print();
  out.print(
    `${out.style('bold', 'Result')}  ${out.style(isGood ? 'green' : 'red', task.state)} after ${steps.length} ${steps.length === 1 ? 'step' : 'steps'}`,
  );
  for (const text of summary.split('\n')) out.print(`  ${text}`);
  if (costUsd > 0) out.print(`  ${out.style('dim', 'cost')}  $${costUsd.toFixed(4)}`);
  out.print(`  ${out.style('dim', 'seal')}  ${task.seal ?? 'none'}`);
  out.print();
}
