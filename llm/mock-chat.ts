/** Answers conversations where no model is configured: by rule, deterministic, and says so in its first words. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { ChatAnswer, ChatPart, ChatPort, ChatRequest } from './chat-port.ts';
import { createTextPieces } from './chat-text.ts';
import { mockLabel } from './mock.ts';
import { readProposedTask } from './propose-task.ts';

/** Characters of the user's words that are repeated. */
const MAX_ECHO_LENGTH = 200;

/** "propose a task: …", "please create a task to …" */
const taskWish =
  /^\s*(?:please\s+)?(?:propose|suggest|create|make|start)\s+an?\s+task\b\s*(?:to\b|that\b|:)?\s*(.+)$/is;

/** "call list_agents", "use the tool create_team {"name":"x"}" */
const callWish = /^\s*(?:please\s+)?(?:call|use)\s+(?:the\s+)?(?:tool\s+)?([a-z_]+)\s*(\{.*\})?\s*$/is;

export function createMockChat(): ChatPort {
  return {
    name: 'mock',
    isMock: true,
    answer(request, { signal }): ChatAnswer {
      return {
        usage: () => null,
        [Symbol.asyncIterator]: () => converse(request, signal),
      };
    },
  };
}

async function* converse(request: ChatRequest, signal: AbortSignal): AsyncGenerator<ChatPart> {
  const { messages, mayProposeTasks = true } = request;
  const question = messages.findLast(({ role }) => role === 'user')?.content ?? '';
  const goal = taskWish.exec(question)?.[1];
  const wish = goal === undefined || !mayProposeTasks ? undefined : readProposedTask({ goal });
  const task = wish !== undefined && 'task' in wish ? wish.task : undefined;
  const call = task === undefined ? findCall(request, question) : undefined;
  const words = splitWords(`${mockLabel} ${wordsFor(question, { task, call })}`);
  for (const text of words) {
    // A turn of the event loop for each: whoever reads sees a stream, and can leave in the middle of it.
    await nextTurn();
    signal.throwIfAborted();
    yield { type: 'text', text };
  }
  if (task !== undefined) yield { type: 'tool', name: 'propose_task', input: task };
  if (call !== undefined) yield { type: 'call', ...call };
  const inputTokens = messages.reduce((sum, { content }) => sum + splitWords(content).length, 0);
  yield { type: 'end', model: 'mock', mock: true, inputTokens, outputTokens: words.length, stop: 'complete' };
}

function wordsFor(question: string, { task, call }: { task: unknown; call: unknown }): string {
  if (task !== undefined) return 'I suggest this task.';
  return call === undefined ? echo(question) : 'I suggest this call.';
}

function findCall(
  { tools = [] }: ChatRequest,
  question: string,
): { name: string; input: Record<string, unknown> } | undefined {
  const [, name, json] = callWish.exec(question) ?? [];
  const tool = tools.find((one) => one.name === name?.toLowerCase());
  if (tool === undefined) return undefined;
  try {
    return { name: tool.name, input: json === undefined ? {} : { ...JSON.parse(json) } };
  } catch {
    return undefined;
  }
}

function echo(question: string): string {
  const pieces = createTextPieces();
  const words = (pieces.push(question) + pieces.end()).trim().replaceAll(/\s+/g, ' ');
  const shown = [...words].slice(0, MAX_ECHO_LENGTH).join('');
  const said = shown === words ? shown : `${shown} …`;
  return `No language model is configured here (ANTHROPIC_API_KEY is not set). You wrote: "${said}"`;
}

/** Words with the blanks behind them: joined they are the text. */
const splitWords = (text: string): string[] => text.match(/\s*\S+\s*|\s+/g) ?? [];
