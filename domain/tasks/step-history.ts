/**
 * What was tried for a task, in the words of the family whose tasks carry their history: an item for every attempt that
 * ran and every run of tools, over all runs of the task, and the newest proposal and outcome. It is read from the rows
 * that are the truth each time; nothing of it is stored.
 *
 * For presenters of tasks: `readStepHistories` takes rows the actor may see (of a list in one go) and gives
 * `history`, `lastProposal`, `lastOutput` and `lastExitCode` of each, ready for `TaskDB`.
 */
import { actText } from '../../contracts/act.ts';
import { type CommandState, isFinalCommandState } from '../../contracts/command-states.ts';
import { listReported, type ReportedPartRow } from '../../db/delegations.ts';
import { listStepPlans, type StepPlanRow } from '../../db/step-plans.ts';
import {
  type HistoryCommandRow,
  type HistoryStepRow,
  listNewestCommands,
  listNewestSteps,
} from '../../db/task-history.ts';
import { listToolRuns, type ToolRunRow } from '../../db/tool-runs.ts';
import type { DomainDeps } from '../deps.ts';
import { decodeOutput, exitCodeOf, type OutputText, readOutputTexts } from './outcome-text.ts';
import { toolRunText } from './tool-run-text.ts';

/** Of one task that is read: the newest this many of each kind. */
export const MAX_HISTORY_ITEMS = 50;
/** Of each task of a list. */
export const MAX_LISTED_HISTORY_ITEMS = 10;
/** Output in a history, bytes a stream. */
export const MAX_HISTORY_OUTPUT_BYTES = 4 * 1024;

export interface HistoryItem {
  /** `execution_result`, or `tool_guardrail_blocked` for tools that did not run. */
  event_type: 'execution_result' | 'tool_guardrail_blocked';
  /** What whoever asked for the proposal wrote. */
  prompt: string | null;
  reason: string;
  command: string | null;
  tool_calls: { name: string; args: Record<string, unknown> }[] | null;
  output: string;
  output_truncated: boolean;
  exit_code: number | null;
  /** Seconds since the epoch: when it ended, or was asked for while it runs. */
  timestamp: number;
  /** `in_progress` while it runs. */
  status: 'completed' | 'failed' | 'in_progress';
  /** State of the command, where there is one: `unknown` means that nobody knows whether it ran to its end. */
  outcome: CommandState | null;
  command_id: string | null;
  /** From 1; higher where the one before failed and another was asked for. */
  attempt: number;
  step: number | null;
  run: number | null;
  agent_id: string | null;
  /** What the quality gates said of the step, once it was judged. */
  quality_gate: string | null;
  /** The part that another installation was given, where this is its report. */
  subtask_id?: string;
  tool_run_id?: string;
  blocked_tools?: unknown;
  blocked_reasons?: unknown;
  guardrails?: unknown;
}

export interface LastProposal {
  reason: string;
  command: string | null;
  tool_calls: null;
  /** The answer as text. */
  raw: string;
  timestamp: number;
  comparisons?: Record<string, unknown>;
}

export interface StepHistory {
  /** Oldest first. */
  history: HistoryItem[];
  lastProposal: LastProposal | null;
  lastOutput: string | null;
  lastExitCode: number | null;
}

const seconds = (date: Date): number => date.getTime() / 1000;

/** What a model answered, as the family knows answers: one JSON text. */
export const rawAnswer = (reason: string, command: string | null): string =>
  JSON.stringify({ reason, command });

/**
 * @param taskIds row ids of tasks that the actor may see
 * @returns one entry for every id
 */
export async function readStepHistories(
  deps: Pick<DomainDeps, 'db'>,
  taskIds: readonly string[],
  { limit, maxOutputBytes }: { limit: number; maxOutputBytes: number } = {
    limit: MAX_HISTORY_ITEMS,
    maxOutputBytes: MAX_HISTORY_OUTPUT_BYTES,
  },
): Promise<Map<string, StepHistory>> {
  if (taskIds.length === 0) return new Map();
  const { db } = deps;
  const [steps, commands, plans, toolRuns, reports] = await Promise.all([
    listNewestSteps(db, taskIds, limit),
    listNewestCommands(db, taskIds, limit),
    listStepPlans(db, taskIds),
    listToolRuns(db, taskIds, limit),
    listReported(db, taskIds, limit * taskIds.length),
  ]);
  const outputs = await readOutputTexts(db, commands, maxOutputBytes);
  const stepsOf = byTask(steps);
  const commandsOf = byTask(commands);
  const plansOf = byTask(plans);
  const runsOf = byTask(toolRuns);
  return new Map(
    taskIds.map((taskId) => [
      taskId,
      historyOf({
        steps: stepsOf.get(taskId) ?? [],
        commands: commandsOf.get(taskId) ?? [],
        plans: plansOf.get(taskId) ?? [],
        toolRuns: runsOf.get(taskId) ?? [],
        reports: reports.filter((report) => report.taskId === taskId || report.parentId === taskId),
        maxOutputBytes,
        outputs,
        limit,
      }),
    ]),
  );
}

function byTask<Row extends { taskId: string }>(rows: readonly Row[]): Map<string, Row[]> {
  const groups = new Map<string, Row[]>();
  for (const row of rows) {
    const group = groups.get(row.taskId);
    if (group === undefined) groups.set(row.taskId, [row]);
    else group.push(row);
  }
  return groups;
}

interface Rows {
  /** Newest first, as the others. */
  steps: readonly HistoryStepRow[];
  commands: readonly HistoryCommandRow[];
  plans: readonly StepPlanRow[];
  toolRuns: readonly ToolRunRow[];
  /** Of the task as another installation works on it, and of its parts that others do. */
  reports: readonly ReportedPartRow[];
  maxOutputBytes: number;
  outputs: ReadonlyMap<string, OutputText>;
  limit: number;
}

function historyOf(rows: Rows): StepHistory {
  const { steps, commands, plans, toolRuns, reports, outputs, limit } = rows;
  const keyOf = (row: { runNo: number; stepNo: number }): string => `${row.runNo}/${row.stepNo}`;
  const stepOf = new Map(steps.map((step) => [keyOf(step), step]));
  const planOf = new Map(plans.map((plan) => [keyOf(plan), plan]));
  const items = [
    ...commands.map((command) => {
      const key = keyOf(command);
      return commandItem(command, stepOf.get(key), planOf.get(key), outputs.get(command.commandId));
    }),
    ...toolRuns.map(toolItem),
    ...reports.map((report) => reportItem(report, rows.maxOutputBytes)),
  ].sort((a, b) => a.timestamp - b.timestamp);
  const ended = items.filter(({ exit_code: code }) => code !== null).at(-1);
  const newest = steps[0];
  return {
    history: items.slice(-limit),
    lastProposal: newest === undefined ? null : proposalOf(newest, planOf.get(keyOf(newest))),
    lastOutput: ended?.output ?? null,
    lastExitCode: ended?.exit_code ?? null,
  };
}

function commandItem(
  command: HistoryCommandRow,
  step: HistoryStepRow | undefined,
  plan: StepPlanRow | undefined,
  output: OutputText | undefined,
): HistoryItem {
  return {
    event_type: 'execution_result',
    prompt: plan?.prompt ?? null,
    reason: step?.reason ?? '',
    command: step === undefined ? null : actText(step.act),
    tool_calls: null,
    output: output?.text ?? '',
    output_truncated: output?.isCut ?? false,
    exit_code: exitCodeOf(command),
    timestamp: seconds(command.finishedAt ?? command.createdAt),
    status: statusOf(command, plan),
    outcome: command.state,
    command_id: command.commandId,
    attempt: command.attempt,
    step: command.stepNo,
    run: command.runNo,
    agent_id: command.agentId,
    quality_gate: plan?.verdictReason ?? null,
  };
}

/** A verdict is of the last attempt; those before it had failed. */
function statusOf(command: HistoryCommandRow, plan: StepPlanRow | undefined): HistoryItem['status'] {
  if (!isFinalCommandState(command.state)) return 'in_progress';
  if (command.state !== 'succeeded') return 'failed';
  return plan?.verdict ?? 'completed';
}

function toolItem(run: ToolRunRow): HistoryItem {
  const isBlocked = run.outcome === 'blocked';
  return {
    event_type: isBlocked ? 'tool_guardrail_blocked' : 'execution_result',
    prompt: null,
    reason: isBlocked ? 'tool_guardrail_blocked' : `tools run by ${run.actorName}`,
    command: null,
    tool_calls: run.calls,
    output: isBlocked ? '' : toolRunText(run.results),
    output_truncated: false,
    exit_code: run.outcome === 'completed' ? 0 : 1,
    timestamp: seconds(run.at),
    status: run.outcome === 'completed' ? 'completed' : 'failed',
    outcome: null,
    command_id: null,
    attempt: 1,
    step: null,
    run: null,
    agent_id: null,
    quality_gate: null,
    tool_run_id: run.id,
    ...(isBlocked && typeof run.results === 'object' ? run.results : {}),
  };
}

function reportItem(report: ReportedPartRow, maxOutputBytes: number): HistoryItem {
  const output = Buffer.from(report.lastOutput ?? '', 'utf8');
  const isCut = output.length > maxOutputBytes;
  const { reportedStatus: status } = report;
  const isOver = status === 'completed' || status === 'failed' || status === 'cancelled';
  return {
    event_type: 'execution_result',
    prompt: report.goal,
    reason: `reported by agent ${report.agentId}`,
    command: null,
    tool_calls: null,
    output: decodeOutput(output.subarray(0, maxOutputBytes), isCut),
    output_truncated: isCut,
    exit_code: report.lastExitCode,
    timestamp: seconds(report.reportedAt ?? report.createdAt),
    status: !isOver ? 'in_progress' : status === 'completed' ? 'completed' : 'failed',
    outcome: null,
    command_id: null,
    attempt: 1,
    step: null,
    run: null,
    agent_id: report.agentId,
    quality_gate: null,
    subtask_id: report.publicId,
  };
}

function proposalOf(step: HistoryStepRow, plan: StepPlanRow | undefined): LastProposal {
  const command = actText(step.act);
  return {
    reason: step.reason,
    command,
    tool_calls: null,
    raw: rawAnswer(step.reason, command),
    timestamp: seconds(step.proposedAt),
    ...(plan?.comparisons && { comparisons: plan.comparisons }),
  };
}
