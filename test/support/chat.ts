/** A client of alice's chat that sees the bytes of the answer, and a model that says what a test scripts. */
import http from 'node:http';
import type { Chat, ChatStreamRequest } from '../../domain/metered-chat.ts';
import type { ChatPart } from '../../llm/chat-port.ts';

/** A wait in a test that takes longer has failed, milliseconds. */
const WAIT_DEADLINE_MS = 15_000;

export interface ChatFrame {
  event: string;
  // biome-ignore lint/suspicious/noExplicitAny: four kinds of data, looked at by the tests.
  data: any;
}

export interface ChatClient {
  status: number;
  headers: http.IncomingHttpHeaders;
  /** All that has come, as it came. */
  text(): string;
  /** Whole frames so far, comments left out. */
  frames(): ChatFrame[];
  /** The tokens so far, joined. */
  said(): string;
  until(isEnough: () => boolean): Promise<void>;
  /** Resolves when the server has ended the answer, or the connection has. */
  ended: Promise<void>;
  /** Go away in the middle. */
  leave(): void;
}

/** Says something on a connection of its own. Resolves when the headers of the answer are there. */
export async function openChat(
  url: string,
  token: string,
  body: unknown,
  headers: Record<string, string> = {},
): Promise<ChatClient> {
  const request = http.request(`${url}/api/v1/chat/message`, {
    method: 'POST',
    agent: false,
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json', ...headers },
  });
  request.end(JSON.stringify(body));
  const message = await new Promise<http.IncomingMessage>((resolve, reject) => {
    request.once('response', resolve);
    request.once('error', reject);
  });
  request.on('error', () => undefined);
  const chunks: Buffer[] = [];
  const lookers = new Set<() => void>();
  const tell = (): void => {
    for (const look of [...lookers]) look();
  };
  const ended = new Promise<void>((resolve) => {
    message.on('data', (chunk: Buffer) => {
      chunks.push(chunk);
      tell();
    });
    message.on('error', () => undefined);
    message.on('close', () => {
      resolve();
      tell();
    });
  });
  const text = (): string => Buffer.concat(chunks).toString('utf8');
  const frames = (): ChatFrame[] =>
    text()
      .split('\n\n')
      .slice(0, -1)
      .flatMap((frame) => {
        const [, event, data] = /^event: (\w+)\ndata: (.*)$/.exec(frame) ?? [];
        return event === undefined || data === undefined ? [] : [{ event, data: JSON.parse(data) }];
      });
  return {
    status: message.statusCode ?? 0,
    headers: message.headers,
    text,
    frames,
    said: () =>
      frames()
        .filter(({ event }) => event === 'token')
        .map(({ data }) => data.content)
        .join(''),
    until: (isEnough) =>
      new Promise((resolve, reject) => {
        const look = (): void => {
          if (!isEnough()) return;
          lookers.delete(look);
          clearTimeout(deadline);
          resolve();
        };
        const deadline = setTimeout(() => {
          lookers.delete(look);
          reject(new Error(`waited ${WAIT_DEADLINE_MS} ms in vain; so far: ${text().slice(0, 2_000)}`));
        }, WAIT_DEADLINE_MS);
        lookers.add(look);
        look();
      }),
    ended,
    leave: () => request.destroy(),
  };
}

/** What a model says: a text, a part, something to wait for, or an error to throw. */
export type ChatScript = (string | ChatPart | Promise<unknown> | Error)[];

export interface ScriptedChat extends Pick<Chat, 'stream'> {
  /** What it was asked, oldest first. */
  asked: ChatStreamRequest[];
  /** The scripts of the next answers; without one it says `Hello`. */
  next(...scripts: ChatScript[]): void;
  /** Forgets what is left of the scripts. */
  drop(): void;
  /** How many calls were ended by their signal. */
  aborted(): number;
}

export const chatEnd = (facts: Partial<Extract<ChatPart, { type: 'end' }>> = {}): ChatPart => ({
  type: 'end',
  model: 'scripted',
  mock: true,
  inputTokens: 7,
  outputTokens: 3,
  stop: 'complete',
  ...facts,
});

export function createScriptedChat(): ScriptedChat {
  const scripts: ChatScript[] = [];
  const asked: ChatStreamRequest[] = [];
  let aborted = 0;
  return {
    asked,
    next: (...given) => void scripts.push(...given),
    drop: () => void scripts.splice(0),
    aborted: () => aborted,
    async *stream(request) {
      asked.push(request);
      const { signal } = request;
      const gone = new Promise<never>((_, reject) => {
        signal.addEventListener('abort', () => {
          aborted += 1;
          reject(signal.reason);
        });
      });
      gone.catch(() => undefined);
      for (const step of scripts.shift() ?? ['Hello', chatEnd()]) {
        signal.throwIfAborted();
        if (step instanceof Error) throw step;
        if (step instanceof Promise) await Promise.race([step, gone]);
        else yield typeof step === 'string' ? { type: 'text', text: step } : step;
      }
    },
  };
}

/** Something to wait for until a test lets it go. */
export function createGate(): { promise: Promise<void>; open: () => void } {
  let open = (): void => undefined;
  const promise = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { promise, open };
}
