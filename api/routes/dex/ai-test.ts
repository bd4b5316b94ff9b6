import { isFinalCommandState } from '../../../contracts/command-states.ts';
import { problem } from '../../../contracts/errors.ts';
import { type DexTested, dexTestRoute } from '../../../contracts/families/dex/ai.ts';
import type { AssistantDeps } from '../../../domain/assistant/exchanges.ts';
import { explainCommand } from '../../../domain/assistant/explain.ts';
import { classifyCommand } from '../../../domain/danger/classify.ts';
import type { Actor } from '../../../domain/deps.ts';
import { isModelProblem } from '../../../domain/model-problem.ts';
import { type MountedRoute, mount } from '../../mount.ts';
import { presentTested } from './present-command.ts';
import { headsOf, onlyCommand, type RunDeps, runOnAgent, runToEnd } from './run-command.ts';

type Deps = AssistantDeps & RunDeps;

/** Run a command on a connected agent, wait for its end, and have the outcome explained. */
export function aiTestRoute(deps: Deps): MountedRoute {
  return mount(dexTestRoute, async (request) => {
    const { command, agent_id: agentId, ...rest } = request.body ?? {};
    if (!command?.trim() || !agentId)
      throw problem('invalid_request', { reason: 'command and agent_id are required' });
    const body = { ...rest, command };
    const commands = await runToEnd(deps, request, [body], async () => [
      await runOnAgent(deps, request, agentId, { body, isQueueing: false }),
    ]);
    const ended = onlyCommand(commands);
    const { label, reasons } = classifyCommand(ended);
    return {
      status: 200,
      body: {
        ...presentTested(ended, await headsOf(deps, request, ended)),
        safety_level: label,
        safety_reasons: reasons,
        ...(await analyze(deps, request, ended.commandId, {
          hasEnded: isFinalCommandState(ended.state),
          signal: request.signal,
        })),
      },
    };
  });
}

/** Without the model the outcome is told all the same: the command has run. */
async function analyze(
  deps: Deps,
  actor: Actor,
  commandId: string,
  { hasEnded, signal }: { hasEnded: boolean; signal: AbortSignal },
): Promise<Pick<DexTested, 'analysis' | 'analysis_error'>> {
  if (!hasEnded) return { analysis: null, analysis_error: 'The command has not ended yet' };
  try {
    const analysis = await explainCommand(deps, actor, commandId, { signal });
    return { analysis, analysis_error: null };
  } catch (error) {
    if (!isModelProblem(error)) throw error;
    return { analysis: null, analysis_error: error.message };
  }
}
