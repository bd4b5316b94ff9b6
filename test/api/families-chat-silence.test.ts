/** What alice's clients hear while a model is silent. */
import { afterAll, afterEach, beforeAll, expect, it, vi } from 'vitest';
import { chatEnd, createGate, createScriptedChat, type ScriptedChat } from '../support/chat.ts';
import { chatDeskOf } from '../support/chat-desk.ts';
import { type FamilyAuth, startFamilyAuth } from '../support/family-auth.ts';

let auth: FamilyAuth;
let chat: ScriptedChat;
let token: string;
beforeAll(async () => {
  chat = createScriptedChat();
  auth = await startFamilyAuth({ chat: () => chat });
  token = await auth.tokenOf(await auth.addUser());
});
afterAll(() => auth.close());
afterEach(() => vi.useRealTimers());

const { open } = chatDeskOf(() => ({ auth, token }));

it('a comment is sent after 15 seconds of silence, and only then', async () => {
  // Only what the stream is kept alive by: sockets and database go on as always.
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
  const [more, end] = [createGate(), createGate()];
  chat.next(['one', more.promise, 'two', end.promise, chatEnd()]);
  const client = await open({ content: 'think about it' });
  const comments = () => client.text().split(': keep-alive\n\n').length - 1;
  await client.until(() => client.said() === 'one');
  vi.advanceTimersByTime(14_999);
  more.open();
  await client.until(() => client.said() === 'onetwo');
  // The token began the silence anew.
  vi.advanceTimersByTime(14_999);
  expect(comments()).toBe(0);
  vi.advanceTimersByTime(1);
  await client.until(() => comments() === 1);
  vi.advanceTimersByTime(15_000);
  await client.until(() => comments() === 2);
  end.open();
  await client.ended;
  expect(comments()).toBe(2);
  // A frame of its own: what stands before and behind it is whole.
  expect(client.frames().map(({ event }) => event)).toEqual(['conversation', 'token', 'token', 'done']);
  expect(client.text()).toContain('"index":1}\n\n: keep-alive\n\n: keep-alive\n\nevent: done\n');
  expect(client.text()).toMatch(/event: done\ndata: \{[^\n]+\}\n\n$/);
});
