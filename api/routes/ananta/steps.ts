import { problem } from '../../../contracts/errors.ts';
import {
  type AnantaExecuteBody,
  type AnantaExecuted,
  type AnantaProposeBody,
  anantaExecuteLooseRoutes,
  anantaExecuteStepRoutes,
  anantaProposeLooseRoutes,
  anantaProposeStepRoutes,
} from '../../../contracts/families/ananta/steps.ts';
import { toAnantaStatus } from '../../../contracts/states.ts';
import type { LocalAgentDeps } from '../../../domain/commands/run-local.ts';
import type { Actor } from '../../../domain/deps.ts';
import type { HubTools } from '../../../domain/hub-tools/run.ts';
import { type RequestKey, requestKeyOf } from '../../../domain/idempotency.ts';
import { askForStep } from '../../../domain/tasks/ask-for-step.ts';
import type { StepModel } from '../../../domain/tasks/compare-models.ts';
import { executeStep } from '../../../domain/tasks/execute-step.ts';
import { proposeOnce } from '../../../domain/tasks/propose-once.ts';
import { runTaskTools, type TaskToolRun } from '../../../domain/tasks/run-task-tools.ts';
import {
  type ExecutedStep,
  findProposedStep,
  type ProposedStep,
  readStepProgress,
} from '../../../domain/tasks/step-outcome.ts';
import type { Hub } from '../../events/hub.ts';
import { waitFor } from '../../events/wait.ts';
import type { MountedRoute } from '../../mount.ts';
import { mountAll } from '../mount-all.ts';
import { given, success } from './envelope.ts';
import { executeLoose } from './loose-steps.ts';
import { actOf, executionOf, inAnantaWords, wishOf } from './step-wishes.ts';

/** How long a proposal is waited for, milliseconds: as long as a model may take that is asked again once. */
const PROPOSAL_DEADLINE_MS = 120_000;
/** How much longer than its attempts may take an outcome is waited for, milliseconds. */
const GRACE_MS = 5_000;
/** Longest that an outcome is waited for, whatever the attempts may take, milliseconds. */
const MAX_WAIT_MS = 10 * 60_000;

export type AnantaStepDeps = LocalAgentDeps & {
  hub: Hub;
  llm: StepModel;
  tools: HubTools;
};

/** The part of a request that taking a step needs. */
type StepRequest = Actor & { signal: AbortSignal; idempotencyKey: string | null };

/** `/tasks/{id}/step/*` and `/step/*`. */
export function anantaStepRoutes(deps: AnantaStepDeps): MountedRoute[] {
  return [
    ...mountAll(anantaProposeStepRoutes, async (request) => {
      const data = await proposeForTask(deps, request, request.params.taskId, request.body ?? {});
      return { status: 200, body: success(data) };
    }),
    ...mountAll(anantaExecuteStepRoutes, async (request) => {
      const data = await executeForTask(deps, request, request.params.taskId, request.body ?? {});
      return { status: 200, body: success(data) };
    }),
    ...mountAll(anantaProposeLooseRoutes, async (request) => {
      const body = request.body ?? {};
      if (body.task_id != null) {
        return { status: 200, body: success(await proposeForTask(deps, request, body.task_id, body)) };
      }
      const prompt = given(body.prompt?.trim(), 'Missing prompt');
      const wish = { ...wishOf(deps.llm, body), prompt };
      const { comparisons, ...answer } = await proposeOnce(deps, request, wish, request.signal);
      const data = { ...answer, tool_calls: null, ...(comparisons !== null && { comparisons }) };
      return { status: 200, body: success(data) };
    }),
    ...mountAll(anantaExecuteLooseRoutes, async (request) => {
      const body = request.body ?? {};
      const data =
        body.task_id == null
          ? await executeLoose(deps, request, executionOf(body))
          : await executeForTask(deps, request, body.task_id, body);
      return { status: 200, body: success(data) };
    }),
  ];
}

type Proposed = ReturnType<typeof presentProposed>;

async function proposeForTask(
  deps: AnantaStepDeps,
  request: StepRequest,
  taskId: string,
  body: AnantaProposeBody,
): Promise<Proposed> {
  const key = requestKeyOf(request, { taskId, propose: body });
  const address = await askForStep(deps, request, taskId, wishOf(deps.llm, body), key);
  const proposed = await waitFor(deps.hub, {
    concerns: ({ row }) => row.taskPublicId === taskId,
    read: () => findProposedStep(deps, request, taskId, address),
    timeoutMs: PROPOSAL_DEADLINE_MS,
    signal: request.signal,
  });
  if (proposed === undefined) throw problem('proposal_pending', { taskId, step: address.stepNo });
  return presentProposed(proposed);
}

const presentProposed = ({ state, reason, command, raw, toolCalls, comparisons }: ProposedStep) => ({
  status: toAnantaStatus(state),
  reason,
  command,
  tool_calls: toolCalls,
  raw,
  ...(comparisons !== null && { comparisons }),
});

async function executeForTask(
  deps: AnantaStepDeps,
  request: StepRequest,
  taskId: string,
  body: AnantaExecuteBody,
): Promise<AnantaExecuted> {
  const wish = executionOf(body);
  const key = requestKeyOf(request, { taskId, execute: body });
  const { command, toolCalls } = wish;
  if (toolCalls.length === 0) return presentExecuted(taskId, await runStep(deps, request, taskId, wish, key));
  const isWhole = command === null;
  const run = await runTaskTools(deps, request, taskId, toolCalls, { isWhole, requestKey: key });
  // What the command was to build on is not there.
  if (isWhole || !run.isSuccess) return presentTools(taskId, run);
  return presentExecuted(taskId, await runStep(deps, request, taskId, wish, key), run);
}

/** @throws execution_pending; as executeStep */
async function runStep(
  deps: AnantaStepDeps,
  request: StepRequest,
  taskId: string,
  wish: ReturnType<typeof executionOf>,
  key: RequestKey | null,
): Promise<ExecutedStep> {
  const { command, retries, retryDelayMs } = wish;
  const act = command === null ? undefined : actOf(command, wish);
  const address = await inAnantaWords(() =>
    executeStep(deps, request, taskId, { act, retries, retryDelayMs }, key),
  );
  const eachMs = (address.timeoutMs ?? wish.timeoutMs) + GRACE_MS;
  const progress = (isLast: boolean) => readStepProgress(deps, request, taskId, address, { isLast });
  const ended = await waitFor(deps.hub, {
    concerns: ({ row }) => row.taskPublicId === taskId,
    read: async () => {
      const now = await progress(false);
      return now.kind === 'ended' ? now.step : undefined;
    },
    timeoutMs: Math.min(eachMs * (retries + 1) + retryDelayMs * retries, MAX_WAIT_MS),
    signal: request.signal,
  });
  if (ended !== undefined) return assertForwarded(ended);
  const last = await progress(true);
  if (last.kind === 'ended') return assertForwarded(last.step);
  const details = { command_id: last.commandId, task_id: taskId };
  throw problem('execution_pending', { commandId: last.commandId }, { details });
}

/** @throws forwarding_failed: the task's agent was asked at its address. `outcome` says whether it may have run */
function assertForwarded(step: ExecutedStep): ExecutedStep {
  if (step.urlFailure === null) return step;
  const { commandId, outcome, urlFailure } = step;
  throw problem(
    'forwarding_failed',
    {},
    { details: { details: urlFailure, command_id: commandId, outcome } },
  );
}

function presentExecuted(taskId: string, step: ExecutedStep, tools?: TaskToolRun): AnantaExecuted {
  return {
    output: [tools?.output, step.output].filter((text) => text !== undefined && text !== '').join('\n\n'),
    exit_code: step.exitCode,
    task_id: taskId,
    status: step.status,
    output_truncated: step.isOutputCut,
    ...(step.isOutputCut && { output_url: outputUrlOf(step.commandId) }),
    command_id: step.commandId,
    outcome: step.outcome,
    attempts: step.attempts,
    quality_gate: step.verdictReason,
  };
}

export const outputUrlOf = (commandId: string): string => `/v1/commands/${commandId}/output/stdout`;

const presentTools = (taskId: string, { isSuccess, output }: TaskToolRun): AnantaExecuted => ({
  output,
  exit_code: isSuccess ? 0 : 1,
  task_id: taskId,
  status: isSuccess ? 'completed' : 'failed',
  output_truncated: false,
  command_id: null,
  outcome: null,
  attempts: 1,
  quality_gate: null,
});
