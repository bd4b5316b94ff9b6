import type { EarlierStep, ProposeRequest } from '../port.ts';
import { readGoal } from './goals.ts';
import { type Plan, planFor, type StageResult } from './plans.ts';

export type NextMove =
  | { kind: 'command'; command: string; shell: string | null; reason: string; expectedEffect: string }
  | { kind: 'done'; success: boolean; summary: string };

const posixShells = ['sh', 'bash', 'zsh', 'dash', 'ash', 'ksh'];

/**
 * Replays the earlier steps against the plan of the goal and answers what comes next. Pure: the same request gives
 * the same answer.
 */
export function nextMove({ task, agent, history }: ProposeRequest): NextMove {
  const plan = planFor(readGoal(task.goal || task.title));
  const shell = plan.anyShell ? null : choosePosixShell(agent.shells, agent.defaultShell);
  if (shell === undefined) {
    return {
      kind: 'done',
      success: false,
      summary: 'The mock model only knows commands for POSIX shells, and this machine offers none.',
    };
  }
  const { results, setbacks } = replay(plan, history);
  const stage = plan.stages[results.length];
  if (!stage) return { kind: 'done', ...plan.summarize(results) };

  const tried = new Set(setbacks.flatMap(({ command, editedFrom }) => [command, editedFrom]));
  const attempt = stage.attempts(results).find(({ command }) => !tried.has(command));
  const setback = setbacks.at(-1);
  if (!attempt)
    return {
      kind: 'done',
      success: false,
      summary: `Gave up: ${setback ? describeSetback(setback) : 'there is nothing to try'}.`,
    };

  const last = history.at(-1);
  const notes = [
    setback && setback === last ? `${describeSetback(setback)}, so this is another way:` : '',
    last?.decision === 'edit' && last !== setback ? 'the edited command was used;' : '',
    attempt.reason,
  ];
  return { kind: 'command', ...attempt, shell, reason: notes.filter(Boolean).join(' ') };
}

/** Which stages are behind us, and what went wrong in the one we are in. */
function replay(
  plan: Plan,
  history: readonly EarlierStep[],
): { results: StageResult[]; setbacks: EarlierStep[] } {
  const results: StageResult[] = [];
  let setbacks: EarlierStep[] = [];
  for (const step of history) {
    // A withdrawn proposal was neither run nor judged: it may be proposed again.
    if (step.decision === 'void') continue;
    const result = {
      command: step.command,
      stdout: step.outcome?.stdout ?? '',
      exitCode: step.outcome?.exitCode ?? null,
    };
    const ok = step.outcome?.state === 'succeeded' && step.outcome.exitCode === 0;
    if (ok && (plan.stages[results.length]?.accepts?.(result) ?? true)) {
      results.push(result);
      setbacks = [];
    } else setbacks.push(step);
  }
  return { results, setbacks };
}

function describeSetback({ step, decision, decisionReason, outcome }: EarlierStep): string {
  if (decision === 'reject')
    return `step ${step} was rejected${decisionReason ? ` ("${decisionReason}")` : ''}`;
  if (!outcome) return `step ${step} did not run`;
  const error = outcome.stderr.trim().split('\n').at(-1)?.slice(0, 200);
  const said = error ? ` and said "${error}"` : '';
  if (outcome.state === 'succeeded') return `step ${step} printed nothing of use${said}`;
  return `step ${step} ended as ${outcome.state} with exit code ${outcome.exitCode ?? 'none'}${said}`;
}

/** `null` = the default shell will do; `undefined` = the machine has no shell that the plans are written for. */
function choosePosixShell(shells: readonly string[], defaultShell: string): string | null | undefined {
  const isPosix = (shell: string) => posixShells.includes(shell.slice(shell.lastIndexOf('/') + 1));
  return isPosix(defaultShell) ? null : shells.find(isPosix);
}
