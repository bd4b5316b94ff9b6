import type { ShellName } from '../../../contracts/act.ts';
import type { StreamName } from '../../../contracts/agent-protocol.ts';
import { isFinalCommandState } from '../../../contracts/command-states.ts';
import type { CommandView } from '../../../contracts/commands.ts';
import { isProblem, problem } from '../../../contracts/errors.ts';
import { type DexTested, dexTestRoute } from '../../../contracts/families/dex/ai.ts';
import { getUsableAgent } from '../../../domain/agents/registry.ts';
import type { AssistantDeps } from '../../../domain/assistant/exchanges.ts';
import { explainCommand } from '../../../domain/assistant/explain.ts';
import { chooseShell } from '../../../domain/assistant/suggest.ts';
import { getBatch, isBatchFinished, readOutputRange } from '../../../domain/commands/read.ts';
import { runCommands } from '../../../domain/commands/run.ts';
import { classifyCommand } from '../../../domain/danger/classify.ts';
import type { Actor } from '../../../domain/deps.ts';
import { isModelProblem } from '../../../domain/model-problem.ts';
import { watchBatches } from '../../events/batches.ts';
import type { Hub } from '../../events/hub.ts';
import { type MountedRoute, mount } from '../../mount.ts';

type Deps = AssistantDeps & { hub: Hub };

/** What this family means by a command, where the agent has it. */
export const PREFERRED_SHELLS: readonly ShellName[] = ['pwsh', 'powershell'];

/** Seconds a command may run when a client names no time, as dex has it. */
const DEFAULT_TIMEOUT_SECONDS = 30;
/** How much longer than the command may run an answer is waited for, milliseconds. */
const GRACE_MS = 5_000;
/** Shortest time a command may wait to be started, milliseconds. */
const MIN_EXPIRY_MS = 1_000;
/** Most of a stream in an answer, bytes. */
const MAX_SHOWN_BYTES = 1024 * 1024;

/** Run a command on a connected agent, wait for its end, and have the outcome explained. */
export function aiTestRoute(deps: Deps): MountedRoute {
  return mount(dexTestRoute, async (request) => {
    const { command, agent_id: agentId, timeout, working_directory: directory } = request.body ?? {};
    if (!command?.trim() || !agentId)
      throw problem('invalid_request', { reason: 'command and agent_id are required' });
    const wish = {
      command,
      timeoutMs: Math.max(100, Math.round((timeout ?? DEFAULT_TIMEOUT_SECONDS) * 1000)),
      workingDirectory: directory || undefined,
    };
    const ended = await run(deps, request, { ...wish, agentId, key: request.idempotencyKey });
    const analysis = isFinalCommandState(ended.state)
      ? await analyze(deps, request, ended.commandId, request.signal)
      : { analysis: null, analysis_error: 'The command has not ended yet' };
    return { status: 200, body: { ...(await presentTested(deps, request, ended)), ...analysis } };
  });
}

/**
 * The command as it is when it has ended, or when the time to wait for that is over.
 * @throws agent_not_found, agent_not_connected, and what runCommands throws
 */
async function run(
  deps: Deps,
  request: Actor & { signal: AbortSignal },
  wish: {
    agentId: string;
    command: string;
    timeoutMs: number;
    workingDirectory: string | undefined;
    key: string | null;
  },
): Promise<CommandView> {
  const { agentId, key, ...act } = wish;
  const agent = await getUsableAgent(deps, request, agentId);
  if (agent.connectedAt === null) throw problem('agent_not_connected', { agentId });
  // Whoever waits for it does not expect it to run after they have left.
  const expiryMs = Math.max(MIN_EXPIRY_MS, act.timeoutMs);
  const shell = chooseShell(agent, PREFERRED_SHELLS);
  // Listens before anything can finish, so that a batch of our own needs no first look.
  const batches = watchBatches(deps.hub);
  try {
    const body = { agentIds: [agentId], act: { ...act, shell, expiryMs } };
    const { batchId, created } = await runCommands(deps, request, body, key).catch(inFamilyWords);
    await batches.wait(batchId, {
      isNew: created,
      read: () => isBatchFinished(deps, batchId),
      timeoutMs: act.timeoutMs + GRACE_MS,
      signal: request.signal,
    });
    const [ended] = (await getBatch(deps, request, batchId)).commands;
    if (ended === undefined) throw problem('not_found');
    return ended;
  } finally {
    batches.stop();
  }
}

const familyFields: Readonly<Record<string, string>> = {
  timeoutMs: 'timeout',
  workingDirectory: 'working_directory',
};

/** What is wrong with the act is wrong with the fields that these clients sent. */
function inFamilyWords(error: unknown): never {
  if (!isProblem(error, 'validation_failed')) throw error;
  const issues = error.issues.map((issue) => ({
    ...issue,
    path: issue.path.filter((part) => part !== 'act').map((part) => familyFields[part] ?? part),
  }));
  throw problem('validation_failed', {}, { issues, cause: error });
}

/** Without the model the outcome is told all the same: the command has run. */
async function analyze(
  deps: Deps,
  actor: Actor,
  commandId: string,
  signal: AbortSignal,
): Promise<Pick<DexTested, 'analysis' | 'analysis_error'>> {
  try {
    const analysis = await explainCommand(deps, actor, commandId, { signal });
    return { analysis, analysis_error: null };
  } catch (error) {
    if (!isModelProblem(error)) throw error;
    return { analysis: null, analysis_error: error.message };
  }
}

async function presentTested(
  deps: Deps,
  actor: Actor,
  command: CommandView,
): Promise<Omit<DexTested, 'analysis' | 'analysis_error'>> {
  const { commandId, state, shell, exitCode, reason } = command;
  const isTimeout = state === 'timed_out' || !isFinalCommandState(state);
  const [output, written] = await Promise.all([
    readText(deps, actor, commandId, 'stdout'),
    readText(deps, actor, commandId, 'stderr'),
  ]);
  const success = state === 'succeeded';
  const message = isTimeout ? `Command timed out after ${command.timeoutMs / 1000} seconds` : undefined;
  const error = written.text || (success ? null : (message ?? reason ?? `Command ${state}`));
  const code = exitCode ?? (state === 'timed_out' ? -1 : null);
  const { label, reasons } = classifyCommand({ mode: command.mode, shell, text: command.text });
  return {
    success,
    command_id: commandId,
    agent_id: command.agentId,
    status: isTimeout ? 'timeout' : 'completed',
    shell,
    error,
    ...(message !== undefined && { message }),
    result: isFinalCommandState(state)
      ? {
          success,
          output: output.text,
          error,
          exit_code: code,
          return_code: code,
          execution_time: (command.durationMs ?? 0) / 1000,
          timestamp: command.finishedAt ?? command.createdAt,
          outcome: state,
          output_truncated: output.isCut || written.isCut,
        }
      : null,
    safety_level: label,
    safety_reasons: reasons,
  };
}

/** The head of a stream; invalid bytes become U+FFFD. */
async function readText(
  deps: Deps,
  actor: Actor,
  commandId: string,
  stream: StreamName,
): Promise<{ text: string; isCut: boolean }> {
  const range = await readOutputRange(deps, actor, commandId, { stream, offset: 0, limit: MAX_SHOWN_BYTES });
  const parts: Buffer[] = [];
  for await (const part of range.parts) parts.push(part);
  const isCut = range.truncated || range.storedBytes > range.nextOffset;
  return { text: Buffer.concat(parts).toString('utf8'), isCut };
}
