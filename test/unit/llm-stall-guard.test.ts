import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { createStallGuard } from '../../llm/stall-guard.ts';

beforeEach(() => vi.useFakeTimers());
afterEach(() => {
  expect(vi.getTimerCount()).toBe(0); // every guard was closed
  vi.useRealTimers();
});

const times = { firstEventMs: 1_000, idleMs: 100, answerMs: 10_000 };
const open = (caller = new AbortController().signal) => createStallGuard(caller, times);
const after = (ms: number) => () => new Promise<string>((resolve) => setTimeout(() => resolve('event'), ms));

it('counts silence only while somebody waits', async () => {
  const guard = open();
  guard.begin();
  for (let i = 0; i < 5; i++) {
    const event = guard.wait(after(90));
    await vi.advanceTimersByTimeAsync(90);
    await expect(event).resolves.toBe('event');
    await vi.advanceTimersByTimeAsync(500); // the reader is slow
  }
  expect(guard.signal.aborted).toBe(false);
  const silent = guard.wait(after(200));
  const outcome = expect(silent).rejects.toThrow();
  await vi.advanceTimersByTimeAsync(200);
  await outcome;
  expect(guard.stalled()).toMatchObject({
    code: 'llm_timeout',
    message: 'the model said nothing for 100 ms',
  });
  guard.close();
});

it('gives the first event its own time', async () => {
  const guard = open();
  const event = guard.wait(after(900));
  await vi.advanceTimersByTimeAsync(900);
  await expect(event).resolves.toBe('event');
  guard.close();
  const other = open();
  await vi.advanceTimersByTimeAsync(1_000);
  expect(other.stalled()?.message).toBe('the model did not begin to answer within 1000 ms');
  other.close();
});

it('bounds the whole, and tells the caller from itself', async () => {
  const guard = open();
  guard.begin();
  await vi.advanceTimersByTimeAsync(10_000);
  expect(guard.stalled()?.message).toBe('the model was not done within 10000 ms');
  guard.close();
  const caller = new AbortController();
  const other = open(caller.signal);
  caller.abort(new Error('gone'));
  expect(other.signal.reason).toMatchObject({ message: 'gone' });
  expect(other.stalled()).toBeUndefined();
  await expect(other.wait(after(1))).rejects.toThrow('gone');
  other.close();
  other.close();
});
