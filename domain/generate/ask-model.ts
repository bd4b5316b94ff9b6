/** One answer of the language model, taken apart: its words, and the tools it asks for. */
import { problem } from '../../contracts/errors.ts';
import type { ToolCall } from '../hub-tools/tool.ts';
import type { Chat, ChatStreamRequest } from '../metered-chat.ts';

export interface ModelAnswer {
  text: string;
  calls: ToolCall[];
}

/**
 * @param onText each piece as it comes
 * @throws budget_exceeded, model_unavailable, answer_broken_off; the reason of the signal
 */
export async function askModel(
  chat: Pick<Chat, 'stream'>,
  request: Omit<ChatStreamRequest, 'mayProposeTasks'>,
  onText: (text: string) => void = () => undefined,
): Promise<ModelAnswer> {
  const said: string[] = [];
  const calls: ToolCall[] = [];
  const say = (text: string): void => {
    said.push(text);
    onText(text);
  };
  for await (const part of chat.stream({ ...request, mayProposeTasks: false })) {
    if (part.type === 'text') say(part.text);
    else if (part.type === 'call') calls.push({ name: part.name, args: part.input });
    else if (part.type === 'end') {
      if (part.stop === 'length') say('\n\n[The answer was cut off: it reached the longest length.]');
      if (part.stop === 'refusal' && said.length === 0) say('[The model would not go on.]');
    }
  }
  if (said.length === 0 && calls.length === 0) throw problem('model_unavailable');
  return { text: said.join(''), calls };
}
