/** What an answer means for a delivery, and when it is tried again. */
import { describe, expect, it } from 'vitest';
import { subscribableTypes, webhookSecretSchema } from '../../contracts/webhooks.ts';
import { createWebhookSecret, keyOfSecret } from '../../domain/webhooks/sign.ts';
import { judgeAnswer, RETRY_DELAYS_MS } from '../../domain/webhooks/verdict.ts';
import type { OutboundAnswer } from '../../outbound/port.ts';

const answered = (status: number, headers: Record<string, string> = {}): OutboundAnswer => ({
  kind: 'answered',
  status,
  headers,
  body: Buffer.alloc(0),
  isCut: false,
  durationMs: 1,
});
const lost: OutboundAnswer = {
  kind: 'failed',
  code: 'connection_lost',
  message: 'x',
  mayHaveArrived: true,
  durationMs: 1,
};
const refused: OutboundAnswer = { kind: 'refused', code: 'address_not_allowed', message: 'x' };
const first = { attempt: 1, isCallback: false, isOver: false };
const middle = () => 0.5;

describe('an answer', () => {
  it.each([200, 201, 202, 204, 299])('%i is taken', (status) => {
    expect(judgeAnswer(answered(status), first)).toEqual({ kind: 'taken' });
  });

  it.each([301, 307, 400, 401, 403, 404, 408, 422, 429, 500, 503])('%i is tried again', (status) => {
    expect(judgeAnswer(answered(status), first)).toMatchObject({ kind: 'later' });
  });

  it('of a guard or of a receiver that is gone is the last', () => {
    expect(judgeAnswer(refused, first)).toEqual({ kind: 'never', isGone: false });
    expect(judgeAnswer(answered(410), first)).toEqual({ kind: 'never', isGone: true });
  });

  it('that a callback will always get holds up nothing', () => {
    const callback = { ...first, isCallback: true };
    for (const status of [400, 405, 413, 415, 422, 501])
      expect(judgeAnswer(answered(status), callback), String(status)).toMatchObject({ kind: 'never' });
    for (const answer of [answered(401), answered(404), answered(429), answered(500), lost])
      expect(judgeAnswer(answer, callback)).toMatchObject({ kind: 'later' });
  });

  it('after the time is over is the last', () => {
    for (const answer of [lost, answered(500)])
      expect(judgeAnswer(answer, { ...first, isOver: true })).toEqual({ kind: 'never', isGone: false });
  });
});

describe('the pause', () => {
  const pauseAfter = (attempt: number, random = middle, headers = {}) => {
    const verdict = judgeAnswer(answered(503, headers), { ...first, attempt }, random);
    return verdict.kind === 'later' ? verdict.delayMs : undefined;
  };

  it('grows up to an hour, and differs by a fifth', () => {
    expect(RETRY_DELAYS_MS.map((_, index) => pauseAfter(index + 1))).toEqual(RETRY_DELAYS_MS);
    expect(pauseAfter(30)).toBe(3_600_000);
    expect([pauseAfter(1, () => 0), pauseAfter(1, () => 1)]).toEqual([4_000, 6_000]);
  });

  it('is what the receiver asks for, within an hour', () => {
    expect(pauseAfter(1, middle, { 'retry-after': '120' })).toBe(120_000);
    expect(pauseAfter(1, middle, { 'retry-after': '1' })).toBe(5_000);
    expect(pauseAfter(1, middle, { 'retry-after': '999999' })).toBe(3_600_000);
    for (const nonsense of ['soon', '', '-1', '1e99'])
      expect(pauseAfter(1, middle, { 'retry-after': nonsense }), nonsense).toBe(5_000);
  });

  it('makes 31 attempts in a day', () => {
    let ms = 0;
    let attempts = 1;
    for (; ms < 24 * 3_600_000; attempts++) ms += pauseAfter(attempts) ?? 0;
    expect(attempts).toBe(31);
  });
});

it('makes secrets of the standard', () => {
  const secret = createWebhookSecret();
  expect(webhookSecretSchema.parse(secret)).toBe(secret);
  expect(keyOfSecret(secret)).toHaveLength(32);
  const of = (bytes: number) => `whsec_${Buffer.alloc(bytes, 1).toString('base64')}`;
  for (const bytes of [24, 25, 26, 32, 63, 64])
    expect(webhookSecretSchema.safeParse(of(bytes)).success, String(bytes)).toBe(true);
  for (const wrong of [of(23), of(67), of(32).slice(6), 'whsec_', `${of(32)}x`])
    expect(webhookSecretSchema.safeParse(wrong).success, wrong).toBe(false);
});

it('knows groups of events', () => {
  expect(subscribableTypes).toEqual(expect.arrayContaining(['*', 'task.*', 'agent.*', 'task.proposed']));
});
