/** Steps that belong to no task: a command on the server's own machine, tools of the hub, and further attempts. */
import { setTimeout as delay } from 'node:timers/promises';
import { isFinalCommandState } from '../../../contracts/command-states.ts';
import type { CommandView } from '../../../contracts/commands.ts';
import { problem } from '../../../contracts/errors.ts';
import type { AnantaExecuted } from '../../../contracts/families/ananta/steps.ts';
import type { InsertedBatch } from '../../../domain/commands/insert.ts';
import { getBatch, isBatchFinished } from '../../../domain/commands/read.ts';
import { rerunFailed } from '../../../domain/commands/rerun.ts';
import { type LocalAgentDeps, runOnServer } from '../../../domain/commands/run-local.ts';
import type { Actor } from '../../../domain/deps.ts';
import type { HubTools } from '../../../domain/hub-tools/run.ts';
import { judgeLoose } from '../../../domain/tasks/judge-loose.ts';
import { NO_EXIT_CODE, readOutputTexts } from '../../../domain/tasks/outcome-text.ts';
import { MAX_OUTCOME_BYTES } from '../../../domain/tasks/step-outcome.ts';
import { toolRunText } from '../../../domain/tasks/tool-run-text.ts';
import { type BatchWatch, watchBatches } from '../../events/batches.ts';
import type { Hub } from '../../events/hub.ts';
import { actOf, type ExecutionWish, inAnantaWords } from './step-wishes.ts';

/** How much longer than a command may run its outcome is waited for, milliseconds. */
const GRACE_MS = 5_000;
/** After these another attempt may be made: it has ended, and not as it should. */
const failedForCertain = ['failed', 'timed_out'] as const;

type Deps = LocalAgentDeps & { hub: Hub; tools: HubTools };
type Request = Actor & { signal: AbortSignal; idempotencyKey: string | null };

/** @throws forbidden, no_proposal, tool_guardrail_blocked, local_agent_unavailable, execution_pending, conflict */
export async function executeLoose(
  deps: Deps,
  request: Request,
  wish: ExecutionWish,
): Promise<AnantaExecuted> {
  const { command, toolCalls } = wish;
  if (command === null && toolCalls.length === 0) throw problem('no_proposal', { taskId: '(none)' });
  const tools = toolCalls.length === 0 ? undefined : await deps.tools.run(request, toolCalls);
  const areDone = tools?.every(({ success }) => success) ?? true;
  const text = tools === undefined ? '' : toolRunText(tools);
  if (command === null || !areDone) {
    return {
      output: text,
      exit_code: areDone ? 0 : 1,
      status: areDone ? 'completed' : 'failed',
      output_truncated: false,
      task_id: null,
      command_id: null,
      outcome: null,
      attempts: 1,
      quality_gate: null,
    };
  }
  const ended = await runToEnd(deps, request, command, wish);
  return present(deps, ended, text);
}

interface Ended {
  command: CommandView;
  attempts: number;
}

/** Attempt after attempt for as long as the client waits: what nobody waits for is not tried again. */
async function runToEnd(deps: Deps, request: Request, command: string, wish: ExecutionWish): Promise<Ended> {
  // Whoever waits for it does not expect it to start long after.
  const act = { ...actOf(command, wish), expiryMs: Math.max(1_000, wish.timeoutMs) };
  const watch = watchBatches(deps.hub);
  try {
    const [first] = await inAnantaWords(() => runOnServer(deps, request, [act], request.idempotencyKey));
    if (first === undefined) throw problem('not_found');
    let batch: InsertedBatch = first;
    for (let attempt = 1; ; attempt++) {
      const ended = await waitForIt(deps, request, watch, batch, wish.timeoutMs);
      const isFailed = failedForCertain.some((state) => state === ended.state);
      if (!isFailed || attempt > wish.retries || request.signal.aborted) {
        return { command: ended, attempts: ended.attempt };
      }
      await delay(wish.retryDelayMs, undefined, { signal: request.signal }).catch(() => undefined);
      if (request.signal.aborted) return { command: ended, attempts: ended.attempt };
      // A request that is repeated finds each of its attempts again.
      const key = request.idempotencyKey === null ? null : `${request.idempotencyKey} ${attempt + 1}`;
      batch = await rerunFailed(deps, request, batch.batchId, { outcomes: [...failedForCertain] }, key);
    }
  } finally {
    watch.stop();
  }
}

/** @throws execution_pending */
async function waitForIt(
  deps: Deps,
  request: Request,
  watch: BatchWatch,
  { batchId, created }: InsertedBatch,
  timeoutMs: number,
): Promise<CommandView> {
  await watch.wait(batchId, {
    isNew: created,
    read: () => isBatchFinished(deps, batchId),
    timeoutMs: timeoutMs + GRACE_MS,
    signal: request.signal,
  });
  const { commands } = await getBatch(deps, request, batchId);
  const [command] = commands;
  if (command === undefined) throw problem('not_found');
  if (isFinalCommandState(command.state)) return command;
  const { commandId } = command;
  throw problem('execution_pending', { commandId }, { details: { command_id: commandId } });
}

async function present(deps: Deps, { command, attempts }: Ended, toolText: string): Promise<AnantaExecuted> {
  const { commandId, stdout, stderr } = command;
  const written = {
    commandId,
    outputBytes: stdout.bytes + stderr.bytes,
    isTruncated: stdout.truncated || stderr.truncated,
  };
  const output = (await readOutputTexts(deps.db, [written], MAX_OUTCOME_BYTES)).get(commandId);
  const shown = output?.text ?? '';
  const isCut = output?.isCut ?? false;
  const { status, reason } = await judgeLoose(deps, { ...command, output: shown });
  return {
    output: [toolText, shown].filter((text) => text !== '').join('\n\n'),
    exit_code: command.exitCode ?? NO_EXIT_CODE,
    task_id: null,
    status,
    output_truncated: isCut,
    ...(isCut && { output_url: `/v1/commands/${commandId}/output/stdout` }),
    command_id: commandId,
    outcome: command.state,
    attempts,
    quality_gate: reason,
  };
}
