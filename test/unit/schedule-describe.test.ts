/** Temporal may lose the answer to a description: it is asked again, and is not taken to be away for it. */
import type { Client } from '@temporalio/client';
import { describe, expect, it } from 'vitest';
import type { TemporalClient } from '../../temporal/connection.ts';
import { failureKind } from '../../temporal/failures.ts';
import { createScheduleServer } from '../../temporal/schedules.ts';

const CANCELLED = 1;
const DEADLINE_EXCEEDED = 4;
const UNAVAILABLE = 14;

const failure = (code: number): Error =>
  new Error('the client says so', {
    cause: Object.assign(new Error('gRPC'), { code, details: '', metadata: {} }),
  });

const description = {
  spec: {},
  action: {},
  policies: {},
  state: { paused: false },
  info: { nextActionTimes: [new Date(0)] },
};

/** @param answers what Temporal says each time it is asked; the last one from then on */
function serverThat(answers: readonly (object | Error)[]) {
  let asked = 0;
  const client = {
    withDeadline: (_deadline: number, run: () => Promise<unknown>) => run(),
    schedule: {
      getHandle: () => ({
        async describe() {
          const answer = answers[Math.min(asked++, answers.length - 1)];
          if (answer instanceof Error) throw answer;
          return answer;
        },
      }),
    },
  } as unknown as Client;
  const temporal: Pick<TemporalClient, 'call'> = { call: (_deadlineMs, run) => run(client) };
  const server = createScheduleServer({ temporal: temporal as TemporalClient, taskQueue: 'none' });
  return { server, asked: () => asked };
}

describe('a description of a schedule', () => {
  it.each([DEADLINE_EXCEEDED, CANCELLED])(
    'is asked for again where its answer was lost: %i',
    async (code) => {
      const { server, asked } = serverThat([failure(code), description]);
      expect(await server.look('one')).toMatchObject({ nextTimes: [new Date(0)] });
      expect(asked()).toBe(2);
    },
  );

  it('that never comes does not mean that Temporal is away', async () => {
    const { server, asked } = serverThat([failure(DEADLINE_EXCEEDED)]);
    const error = await server.look('one').catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(Error);
    expect(failureKind(error)).toBe('refused');
    expect(asked()).toBe(3);
  });

  it('is asked for once where Temporal is away', async () => {
    const { server, asked } = serverThat([failure(UNAVAILABLE)]);
    const error = await server.look('one').catch((reason: unknown) => reason);
    expect(failureKind(error)).toBe('away');
    expect(asked()).toBe(1);
  });
});
