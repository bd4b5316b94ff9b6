import type { PassThrough } from 'node:stream';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import type { AppContext } from '../../api/context.ts';
import { DEFAULT_KEEP_ALIVE_MS, openEventStream } from '../../api/event-stream.ts';

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

it('comments only in silence: whatever is sent starts it anew', () => {
  const nothing = () => undefined;
  const ctx = {
    set: nothing,
    flushHeaders: nothing,
    res: { writableLength: 0, destroy: nothing },
    state: { ended: new Promise(nothing) },
  } as unknown as AppContext;
  const stream = openEventStream(ctx);
  const body = ctx.body as PassThrough;
  const sent = (): string => String(body.read() ?? '');

  expect(DEFAULT_KEEP_ALIVE_MS).toBe(15_000);
  for (let i = 0; i < 4; i++) {
    vi.advanceTimersByTime(DEFAULT_KEEP_ALIVE_MS - 1);
    stream.send({ event: 'token', data: i });
    expect(sent()).toBe(`event: token\ndata: ${i}\n\n`);
  }
  vi.advanceTimersByTime(DEFAULT_KEEP_ALIVE_MS);
  expect(sent()).toBe(': keep-alive\n\n');
  vi.advanceTimersByTime(DEFAULT_KEEP_ALIVE_MS);
  expect(sent()).toBe(': keep-alive\n\n');
  stream.close();
  stream.send({ event: 'token', data: 'late' });
  vi.advanceTimersByTime(10 * DEFAULT_KEEP_ALIVE_MS);
  expect(sent()).toBe('');
});
