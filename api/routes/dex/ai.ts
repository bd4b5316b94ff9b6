import { type ShellName, shellNames } from '../../../contracts/act.ts';
import {
  type DexGenerated,
  dexGenerateRoute,
  dexModelStatusRoute,
} from '../../../contracts/families/dex/ai.ts';
import type { AssistantDeps } from '../../../domain/assistant/exchanges.ts';
import { type Suggestion, suggestCommand } from '../../../domain/assistant/suggest.ts';
import { powershells } from '../../../domain/commands/agents.ts';
import type { Hub } from '../../events/hub.ts';
import { type MountedRoute, mount } from '../../mount.ts';
import { aiTestRoute } from './ai-test.ts';

export type DexAiDeps = AssistantDeps & { hub: Hub };

/** `/api/v1/commands/ai` as dex clients know it. */
export function dexAiRoutes(deps: DexAiDeps): MountedRoute[] {
  return [
    mount(dexGenerateRoute, async (request) => {
      const { body, signal } = request;
      const history = body.conversation_history ?? [];
      const suggestion = await suggestCommand(deps, request, {
        messages: [
          // Notes of the system come from us alone: what a client sends is its user's, whatever it is called.
          ...history.map(({ role, content }) => ({
            role: role === 'assistant' ? ('assistant' as const) : ('user' as const),
            content,
          })),
          { role: 'user', content: body.message ?? body.prompt ?? '' },
        ],
        agentId: body.agent_id || undefined,
        os: body.agent_context?.os ?? undefined,
        // What every Windows has, where it is not known who has what.
        shell: shellOf(body.agent_context?.shell) ?? (body.agent_id ? undefined : 'powershell'),
        preferredShells: powershells,
        signal,
      });
      return { status: 200, body: presentSuggestion(suggestion) };
    }),
    aiTestRoute(deps),
    mount(dexModelStatusRoute, async () => {
      const { isAvailable, model } = deps.assistant;
      const message = isAvailable
        ? `AI service is available (${model})`
        : 'AI service is not configured: ANTHROPIC_API_KEY is not set';
      return { status: 200, body: { available: isAvailable, message, model } };
    }),
  ];
}

/** Clients write `PowerShell`, and shells that we do not know. */
const shellOf = (name: string | null | undefined): ShellName | undefined =>
  shellNames.find((known) => known === name?.trim().toLowerCase());

function presentSuggestion({ command: found, ...answer }: Suggestion): DexGenerated {
  const { shell, model, isCached: cached, raw: raw_response } = answer;
  if (found === null) {
    const words = answer.isRefusal ? 'The model would not write this command' : answer.raw;
    return {
      success: false,
      command_data: null,
      command: null,
      explanation: words,
      shell,
      safety_level: null,
      safety_reasons: [],
      estimated_execution_time: null,
      raw_response,
      note: answer.isRefusal ? words : 'The model answered without a command',
      model,
      cached,
    };
  }
  const { command, explanation } = found;
  const safety = { safety_level: found.label, safety_reasons: [...found.labelReasons] };
  return {
    success: true,
    command_data: {
      command,
      name: found.name,
      description: found.description,
      category: found.category,
      parameters: [...found.parameters],
      tags: [...found.tags],
      explanation,
      shell,
      ...safety,
    },
    command,
    explanation,
    shell,
    ...safety,
    estimated_execution_time: found.estimatedTime,
    raw_response,
    model,
    cached,
  };
}
