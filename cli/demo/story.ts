/** The main job as a client of the API does it: state a task, read each proposal, approve it, watch it run. */
import { randomUUID } from 'node:crypto';
import { type ApiClient, createApiClient } from '../../client/api-client.ts';
import { loginRoute } from '../../contracts/auth.ts';
import { createTaskRoute, decideRoute, listStepsRoute, timelineRoute } from '../../contracts/task-routes.ts';
import { endedTaskStates, type StepView, type TaskView, type TimelineItem } from '../../contracts/tasks.ts';
import type { Console } from '../console.ts';
import { CommandError } from '../exit-codes.ts';
import { followOutput } from './follow-output.ts';
import { printEnd, printProposal, printResult, printTimeline } from './print.ts';
import { watchTask } from './watch-task.ts';

/** A model may take its time. */
const PROPOSAL_TIMEOUT_MS = 120_000;
/** Above the timeout of a command (30 s by default) and the margin after it. */
const OUTPUT_TIMEOUT_MS = 120_000;
const MAX_STEPS = 10;

export interface Story {
  task: TaskView;
  steps: StepView[];
  timeline: TimelineItem[];
}

interface StoryDeps {
  url: string;
  out: Console;
  admin: { username: string; password: string };
  agentId: string;
  signal: AbortSignal;
}

/** @returns the task when it has ended, with its record @throws CommandError when something does not come in time */
export async function tellStory(
  { url, out, admin, agentId, signal }: StoryDeps,
  goal: string,
): Promise<Story> {
  const { accessToken } = await createApiClient({ url }).call(loginRoute, { body: admin });
  const api = createApiClient({ url, token: accessToken });
  out.print(`Logged in as ${out.style('bold', admin.username)}.`);

  const created = await api.call(createTaskRoute, {
    body: { goal, target: { agentId }, maxSteps: MAX_STEPS },
    idempotencyKey: randomUUID(),
  });
  out.print(`Task ${out.style('dim', created.id)}: ${out.style('bold', `“${goal}”`)}`);
  out.print(`Mode ${created.mode}: every proposal waits for a decision.`);

  const watch = watchTask(api, created.id, { signal });
  try {
    for (let next = 1; ; next += 1) {
      const task = await watch.until((now) => isEnded(now) || isDecisionDue(now, next), {
        what: `proposal for step ${next}, and no end`,
        timeoutMs: PROPOSAL_TIMEOUT_MS,
      });
      if (isEnded(task)) return await tellEnd(api, out, task);
      await approveAndWatch({ api, out, signal }, task);
    }
  } finally {
    await watch.close();
  }
}

function isEnded(task: TaskView): boolean {
  return endedTaskStates.some((state) => state === task.state);
}

function isDecisionDue(task: TaskView, step: number): boolean {
  return task.state === 'awaiting_decision' && task.step >= step;
}

async function approveAndWatch(
  { api, out, signal }: { api: ApiClient; out: Console; signal: AbortSignal },
  task: TaskView,
): Promise<void> {
  const params = { taskId: task.id };
  const { items } = await api.call(listStepsRoute, { params });
  const proposal = items.find((step) => step.step === task.step);
  if (proposal === undefined) throw new CommandError(`Task ${task.id} has no step ${task.step}.`);
  printProposal(out, proposal);
  // The digest says what exactly is approved: other bytes or another machine would be another digest.
  const decided = await api.call(decideRoute, {
    params,
    body: { decision: 'approve', step: proposal.step, digest: proposal.digest },
    idempotencyKey: randomUUID(),
  });
  out.print(`  ${out.style('green', '✓')} approved by ${decided.decidedBy?.name ?? 'nobody'}, running:`);
  for (const { commandId } of decided.commands) {
    printEnd(out, await followOutput({ api, out }, commandId, { signal, timeoutMs: OUTPUT_TIMEOUT_MS }));
  }
}

async function tellEnd(api: ApiClient, out: Console, task: TaskView): Promise<Story> {
  const params = { taskId: task.id };
  const { items: steps } = await api.call(listStepsRoute, { params });
  const { items: timeline } = await api.call(timelineRoute, { params });
  printTimeline(out, timeline);
  printResult(out, task, steps);
  return { task, steps, timeline };
}
