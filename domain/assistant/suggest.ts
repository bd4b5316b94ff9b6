/** Have the model write a command. It runs nothing: whoever asked reads it, with our label on it, and decides. */
import { createHash } from 'node:crypto';
import type { ShellName } from '../../contracts/act.ts';
import type { SuggestAnswer, SuggestedCommand, SuggestTarget } from '../../llm/assistant-port.ts';
import type { ChatMessage } from '../../llm/chat-port.ts';
import { getUsableAgent } from '../agents/registry.ts';
import { resolveShell } from '../commands/agents.ts';
import { classifyCommand, type DangerLabel } from '../danger/classify.ts';
import type { Actor } from '../deps.ts';
import { assertCan } from '../policy.ts';
import { type AssistantDeps, recordExchange, usageDetails } from './exchanges.ts';

export interface SuggestionWish {
  /** Oldest first; the last one says what is wanted. */
  messages: readonly ChatMessage[];
  /** The machine it is for: its system and shells are heeded. */
  agentId?: string | undefined;
  /** Of the machine, where no agent is named. */
  os?: string | undefined;
  /** Write for this shell whatever the agent says. */
  shell?: ShellName | undefined;
  /** Otherwise the first of these that the agent has, else its default. Without an agent: `sh`. */
  preferredShells?: readonly ShellName[];
  /** Ends the call to the model. */
  signal: AbortSignal;
}

export interface Suggestion {
  /** null: the model answered in words, or would not help; see `raw`. */
  command: (SuggestedCommand & { label: DangerLabel; labelReasons: readonly string[] }) | null;
  shell: ShellName;
  raw: string;
  isRefusal: boolean;
  /** Answered from the last minutes: it cost nothing. */
  isCached: boolean;
  model: string;
}

/**
 * The label is the classifier's: a model's word on its own command is worth nothing, and is not asked for.
 * @throws forbidden, agent_not_found, budget_exceeded, model_unavailable, model_not_configured
 */
export async function suggestCommand(
  deps: AssistantDeps,
  actor: Actor,
  { messages, signal, ...wish }: SuggestionWish,
): Promise<Suggestion> {
  assertCan(actor.principal, 'propose', 'command');
  const { shell, ...machine } = await chooseTarget(deps, actor, wish);
  const request = { messages, target: { ...machine, shell } };
  const answer = await recordExchange(
    deps,
    actor,
    () => deps.assistant.suggest(request, { principalId: actor.principal.id, signal }),
    (given) => ({
      action: 'assistant.suggest',
      targetKind: 'model',
      targetId: given?.usage.model ?? deps.assistant.model ?? 'none',
      details: {
        ...(wish.agentId !== undefined && { agentId: wish.agentId }),
        ...(given !== undefined && answerDetails(given, shell)),
      },
    }),
  );
  return {
    command: answer.suggestion && { ...answer.suggestion, ...labelOf(answer.suggestion.command, shell) },
    shell,
    raw: answer.raw,
    isRefusal: answer.isRefusal,
    isCached: answer.isCached,
    model: answer.usage.model,
  };
}

async function chooseTarget(
  deps: AssistantDeps,
  actor: Actor,
  { agentId, os, shell, preferredShells = [] }: Omit<SuggestionWish, 'messages' | 'signal'>,
): Promise<SuggestTarget & { shell: ShellName }> {
  if (agentId === undefined) return { shell: shell ?? 'sh', os: os ?? null, hostname: null };
  const agent = await getUsableAgent(deps, actor, agentId);
  const { hostname } = agent;
  return { shell: shell ?? resolveShell([agent], preferredShells), os: agent.os, hostname };
}

function labelOf(command: string, shell: ShellName) {
  const { label, reasons } = classifyCommand({ mode: 'shell', shell, text: command });
  return { label, labelReasons: reasons };
}

/** Enough to find the command again among those that ran; its bytes are not kept. */
function answerDetails(
  { suggestion, usage, isCached }: SuggestAnswer & { isCached: boolean },
  shell: ShellName,
) {
  const used = usageDetails(isCached ? { ...usage, inputTokens: 0, outputTokens: 0, costUsd: 0 } : usage);
  if (suggestion === null) return { ...used, isCached, label: null };
  const commandSha256 = createHash('sha256').update(suggestion.command).digest('hex');
  return { ...used, isCached, label: labelOf(suggestion.command, shell).label, commandSha256 };
}
