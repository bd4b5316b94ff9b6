/** Which part of a conversation the model sees: the newest messages that fit, in the form the Messages protocol takes. */
import { type ChatMessage, MAX_WINDOW_MESSAGES } from './chat-port.ts';
import { cutMiddle } from './untrusted-text.ts';

/** Estimated tokens of a conversation that are sent with each call. What bounds the price of a long conversation. */
export const CHAT_CONTEXT_TOKENS = 32_000;

/** Bytes (UTF-8) that are counted as a token: English has about 4 to a token, other scripts less. */
const BYTES_PER_TOKEN = 3;
/** Tokens of role and borders of a message. */
const TOKENS_PER_MESSAGE = 4;

/** What stands before a note of the server, which the protocol has no role for. */
export const noteLabel = '[note of the system]';

export interface WindowMessage {
  role: 'user' | 'assistant';
  content: string;
}

export interface ChatWindow {
  /** The first and the last are the user's, and no two neighbours have the same role. */
  messages: WindowMessage[];
  /** Older messages were left out, or the newest was shortened. */
  isCut: boolean;
  /** Of the messages. */
  estimatedTokens: number;
}

/** Rather too many than too few. */
export const estimateTokens = (text: string): number => Math.ceil(Buffer.byteLength(text) / BYTES_PER_TOKEN);

/**
 * Keeps whole messages, newest first, while they fit into `maxTokens`. The newest of the user is always there: one that
 * does not fit alone loses its middle, and says so. Blank messages and what stands behind the user's last one are no
 * part of a question, and are dropped.
 *
 * @throws TypeError when the user has said nothing: there is no question
 */
export function fitWindow(
  messages: readonly ChatMessage[],
  { maxTokens = CHAT_CONTEXT_TOKENS }: { maxTokens?: number } = {},
): ChatWindow {
  const said = messages.flatMap((message) => toWindowMessage(message));
  const last = said.findLastIndex(({ isUsers }) => isUsers);
  const newest = said[last];
  if (newest === undefined)
    throw new TypeError('a conversation without a message of the user has no question');

  const maxBytes = Math.max(1, maxTokens - TOKENS_PER_MESSAGE) * BYTES_PER_TOKEN;
  const question = { ...newest, content: cutMiddle(newest.content, maxBytes) };
  const kept: Said[] = [question];
  let left = maxTokens - costOf(question);
  let first = last;
  while (first > 0 && kept.length < MAX_WINDOW_MESSAGES) {
    const older = said[first - 1];
    if (older === undefined || costOf(older) > left) break;
    left -= costOf(older);
    kept.unshift(older);
    first -= 1;
  }
  // An answer without its question: the protocol wants a user first.
  while (kept[0]?.role === 'assistant') {
    kept.shift();
    first += 1;
  }
  const joined = joinNeighbours(kept);
  return {
    messages: joined,
    isCut: first > 0 || question.content !== newest.content || messages.length >= MAX_WINDOW_MESSAGES,
    estimatedTokens: joined.reduce((sum, message) => sum + costOf(message), 0),
  };
}

interface Said extends WindowMessage {
  isUsers: boolean;
}

function toWindowMessage({ role, content }: ChatMessage): Said[] {
  // The provider refuses blank messages, blanks at the end of the last answer, and half characters.
  const text = content.toWellFormed().trimEnd();
  if (text.trim() === '') return [];
  if (role === 'system') return [{ role: 'user', content: `${noteLabel} ${text}`, isUsers: false }];
  return [{ role, content: text, isUsers: role === 'user' }];
}

const costOf = ({ content }: WindowMessage): number => estimateTokens(content) + TOKENS_PER_MESSAGE;

/** An answer that failed leaves two questions in a row, and so does a note. */
function joinNeighbours(messages: readonly Said[]): WindowMessage[] {
  const joined: WindowMessage[] = [];
  for (const { role, content } of messages) {
    const before = joined.at(-1);
    if (before?.role === role) before.content += `\n\n${content}`;
    else joined.push({ role, content });
  }
  return joined;
}
