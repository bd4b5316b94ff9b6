import { setTimeout as delay } from 'node:timers/promises';
import { nextMove } from './mock/planner.ts';
import type { LlmPort, Usage } from './port.ts';

/** Stands before everything the mock says, so that nobody takes it for a model. */
export const mockLabel = '[mock model]';

const mockUsage: Usage = { model: 'mock', inputTokens: 0, outputTokens: 0, costUsd: 0, mock: true };

export interface MockPortOptions {
  /** Time an answer takes, in milliseconds. Default 0: without a timer. */
  delayMs?: number;
}

/**
 * A small rule-based planner behind the port, for machines without a key and for benchmarks. It reads the goal and
 * the results of earlier steps (`mock/goals.ts`, `mock/plans.ts`); it is deterministic and asks nobody.
 */
export function createMockPort({ delayMs = 0 }: MockPortOptions = {}): LlmPort {
  return {
    name: 'mock',
    isMock: true,
    async propose(request, { signal }) {
      signal.throwIfAborted();
      if (delayMs > 0) {
        await delay(delayMs, undefined, { signal }).catch(() => signal.throwIfAborted());
      }
      // It follows the goal it reads; words for one step are read as the goal of that step.
      const { prompt, task } = request;
      const move = nextMove(prompt ? { ...request, task: { ...task, goal: prompt } } : request);
      const usage = { ...mockUsage };
      return move.kind === 'command'
        ? { ...move, reason: `${mockLabel} ${move.reason}`, usage }
        : { ...move, summary: `${mockLabel} ${move.summary}`, usage };
    },
  };
}
