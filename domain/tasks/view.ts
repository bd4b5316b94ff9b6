import { actText } from '../../contracts/act.ts';
import { MAX_TITLE_LENGTH, type StepView, type TaskView } from '../../contracts/tasks.ts';
import type { CommandWithAct } from '../../db/commands.ts';
import type { StepRow } from '../../db/steps.ts';
import type { BriefTaskRow } from '../../db/task-kinds.ts';
import type { ListedTaskRow, TaskRow } from '../../db/tasks.ts';
import { toCommandView } from '../commands/view.ts';

const time = (date: Date | null): string | null => date?.toISOString() ?? null;

/** The start of the goal, on one line, cut at a word. */
export function titleOf(goal: string): string {
  const line = goal.replace(/\s+/g, ' ').trim();
  if (line.length <= 80) return line.slice(0, MAX_TITLE_LENGTH);
  const cut = line.slice(0, 80);
  const start = cut.slice(0, Math.max(cut.lastIndexOf(' '), 40));
  // Half of a surrogate pair is no text: the database refuses it in JSON.
  return `${start.replace(/[\uD800-\uDBFF]$/, '')}…`;
}

/** From 1; every change that a client can see raises it. */
const versionOf = (row: Pick<TaskRow, 'rev'>): number => row.rev + 1;

/** What lists of jobs and notes are made of. */
export type TaskBrief = Pick<
  TaskView,
  'id' | 'title' | 'goal' | 'state' | 'version' | 'createdAt' | 'updatedAt'
>;

export const toTaskBrief = (row: BriefTaskRow): TaskBrief => ({
  id: row.publicId,
  title: row.title,
  goal: row.goal,
  state: row.state,
  version: versionOf(row),
  createdAt: row.createdAt.toISOString(),
  updatedAt: row.updatedAt.toISOString(),
});

/** A task as the house API shows it. */
export const toTaskView = (row: ListedTaskRow): TaskView => ({
  id: row.publicId,
  kind: row.kind,
  title: row.title || titleOf(row.goal),
  goal: row.goal,
  mode: row.mode,
  state: row.state,
  version: versionOf(row),
  runNo: row.runNo,
  step: row.stepNo,
  target: row.target,
  agentId: row.agentId,
  waitingReason: row.waitingReason,
  priority: row.priority,
  tags: row.tags,
  dependsOn: row.dependsOn,
  parentTaskId: row.parentTaskId,
  preApproved: row.preApproved,
  maxSteps: row.maxSteps,
  deadlineAt: row.deadlineAt.toISOString(),
  approvalTimeoutMs: row.approvalTimeoutMs,
  commandTimeoutMs: row.commandTimeoutMs,
  expiryMs: row.expiryMs,
  createdBy: { kind: row.creatorKind, id: row.creatorId, name: row.creatorName },
  createdAt: row.createdAt.toISOString(),
  updatedAt: row.updatedAt.toISOString(),
  cancelRequestedAt: time(row.cancelRequestedAt),
  endedAt: time(row.endedAt),
  result: row.result,
  seal: row.seal,
  archivedAt: time(row.archivedAt),
});

/** A step as the house API shows it, with the commands it became and the text it had before an edit. */
export const toStepView = (
  task: TaskRow,
  row: StepRow,
  commands: readonly CommandWithAct[],
  originalText: string | null,
): StepView => ({
  taskId: task.publicId,
  runNo: row.runNo,
  step: row.stepNo,
  proposalId: row.proposalId,
  origin: row.origin,
  author: { kind: row.authorKind, id: row.authorId, name: row.authorName },
  text: actText(row.act),
  act: row.act,
  mode: row.act.mode,
  shell: row.act.mode === 'shell' ? row.act.shell : null,
  timeoutMs: row.act.timeoutMs,
  agentIds: row.agentIds,
  digest: row.batchDigest,
  reason: row.reason,
  expectedEffect: row.expectedEffect,
  risk: { label: row.riskLabel, reasons: row.riskReasons },
  proposedAt: row.proposedAt.toISOString(),
  expiresAt: row.expiresAt.toISOString(),
  decision: row.decision,
  decidedBy:
    row.decidedKind === null || row.decidedId === null || row.decidedName === null
      ? null
      : { kind: row.decidedKind, id: row.decidedId, name: row.decidedName },
  decidedAt: time(row.decidedAt),
  decisionReason: row.decisionReason,
  originalText,
  batchId: row.batchId,
  model: row.model,
  mock: row.mock,
  usage: { inputTokens: row.inputTokens, outputTokens: row.outputTokens, costUsd: row.costUsd },
  commands: commands.filter((command) => command.stepNo === row.stepNo).map(toCommandView),
});
