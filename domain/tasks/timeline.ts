/** The timeline of a task, derived from the rows that are the truth: who, what, when, exit code, duration. */
import type { TimelineItem } from '../../contracts/tasks.ts';
import type { Actor, DomainDeps } from '../deps.ts';
import { getTask, listStepViews } from './read.ts';

type Details = Pick<TimelineItem, 'type' | 'summary'> &
  Partial<Omit<TimelineItem, 'at' | 'type' | 'summary'>>;

const item = (at: string, details: Details): TimelineItem => ({
  at,
  actor: null,
  step: null,
  commandId: null,
  agentId: null,
  details: {},
  ...details,
});

/** Oldest first. @throws task_not_found */
export async function getTimeline(deps: DomainDeps, actor: Actor, publicId: string): Promise<TimelineItem[]> {
  const task = await getTask(deps, actor, publicId);
  const steps = await listStepViews(deps, actor, publicId);
  const items = [
    item(task.createdAt, {
      type: 'created',
      actor: task.createdBy,
      summary: task.goal,
      details: { mode: task.mode },
    }),
  ];
  for (const step of steps) {
    items.push(
      item(step.proposedAt, {
        type: 'proposed',
        // An edit makes its editor the author of the step; what was proposed is still the model's.
        actor:
          step.originalText === null || step.model === null
            ? step.author
            : { kind: 'model', id: step.model, name: step.model },
        step: step.step,
        summary: step.originalText ?? step.text,
        details: { reason: step.reason, risk: step.risk.label, model: step.model, mock: step.mock },
      }),
    );
    if (step.decidedAt !== null && step.decision !== null) {
      items.push(
        item(step.decidedAt, {
          type: step.decision,
          actor: step.decidedBy,
          step: step.step,
          summary: step.decision === 'edit' ? step.text : (step.decisionReason ?? ''),
          details: { digest: step.digest, reason: step.decisionReason },
        }),
      );
    }
    for (const command of step.commands) {
      const refs = { step: step.step, commandId: command.commandId, agentId: command.agentId };
      if (command.startedAt !== null) {
        items.push(item(command.startedAt, { ...refs, type: 'started', summary: command.text }));
      }
      if (command.finishedAt !== null) {
        items.push(
          item(command.finishedAt, {
            ...refs,
            type: command.state,
            summary: command.reason ?? '',
            details: {
              exitCode: command.exitCode,
              durationMs: command.durationMs,
              stdoutBytes: command.stdout.totalBytes,
              stderrBytes: command.stderr.totalBytes,
            },
          }),
        );
      }
    }
  }
  if (task.endedAt !== null) {
    items.push(
      item(task.endedAt, {
        type: task.state,
        summary: task.result?.summary ?? '',
        details: { reason: task.result?.reason ?? null, seal: task.seal },
      }),
    );
  }
  return items.sort((a, b) => a.at.localeCompare(b.at));
}
