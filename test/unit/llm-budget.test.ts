import { describe, expect, it } from 'vitest';
import {
  type Budget,
  type CallOutcome,
  LlmError,
  type LlmPort,
  type ProposeRequest,
  type Usage,
} from '../../llm/port.ts';
import { defaultPrices, findPrice, priceUsage } from '../../llm/prices.ts';
import { cutMiddle, fence, showInvisible } from '../../llm/untrusted-text.ts';
import { withBudget } from '../../llm/with-budget.ts';

const usage: Usage = { model: 'm', inputTokens: 10, outputTokens: 1, costUsd: 0.1, mock: false };
const request: ProposeRequest = {
  task: { id: 't1', runNo: 1, title: '', goal: 'x' },
  step: 1,
  maxSteps: 2,
  agent: { id: 'a', hostname: 'h', os: 'Linux', shells: ['sh'], defaultShell: 'sh' },
  history: [],
  actor: { principalId: 'p1' },
};
const options = { signal: new AbortController().signal };

function createBudget(limit: number) {
  const records: { usage: Usage; outcome: CallOutcome }[] = [];
  const budget: Budget = {
    async assertWithin(scope) {
      expect(scope).toEqual({ taskId: 't1', principalId: 'p1' });
      if (records.length >= limit)
        throw new LlmError('llm_budget_exceeded', 'the budget of this task is used up');
    },
    async record(_scope, recorded, outcome) {
      records.push({ usage: recorded, outcome });
    },
  };
  return { budget, records };
}

function createPort(answer: () => Awaited<ReturnType<LlmPort['propose']>>) {
  let calls = 0;
  const port: LlmPort = {
    name: 'fake',
    isMock: false,
    async propose() {
      calls += 1;
      return answer();
    },
  };
  return { port, calls: () => calls };
}

describe('withBudget', () => {
  it('records answers and asks nobody once the budget is used up', async () => {
    const { budget, records } = createBudget(1);
    const { port, calls } = createPort(() => ({ kind: 'done', success: true, summary: 's', usage }));
    const guarded = withBudget(port, budget);
    await guarded.propose(request, options);
    await expect(guarded.propose(request, options)).rejects.toMatchObject({
      code: 'llm_budget_exceeded',
      retryable: false,
    });
    expect(calls()).toBe(1);
    expect(records).toEqual([{ usage, outcome: 'ok' }]);
  });

  it('records a failed call whose usage is known', async () => {
    const { budget, records } = createBudget(9);
    const { port } = createPort(() => {
      throw new LlmError('llm_bad_answer', 'x', { usage });
    });
    await expect(withBudget(port, budget).propose(request, options)).rejects.toMatchObject({
      code: 'llm_bad_answer',
    });
    expect(records).toEqual([{ usage, outcome: 'llm_bad_answer' }]);
  });

  it('records what a call is thought to have cost that nobody waited for', async () => {
    const { budget, records } = createBudget(9);
    const endings = [new LlmError('llm_timeout', 'x'), new Error('task canceled')];
    for (const ending of endings) {
      const port: LlmPort = {
        name: 'fake',
        isMock: false,
        async propose(_request, { onAbandoned }) {
          onAbandoned?.(usage);
          throw ending;
        },
      };
      await expect(withBudget(port, budget).propose(request, options)).rejects.toBe(ending);
    }
    expect(records).toEqual([
      { usage, outcome: 'llm_timeout' },
      { usage, outcome: 'aborted' },
    ]);
  });

  it('records nothing when nothing is known', async () => {
    const { budget, records } = createBudget(9);
    const { port } = createPort(() => {
      throw new LlmError('llm_unavailable', 'x');
    });
    await expect(withBudget(port, budget).propose(request, options)).rejects.toThrow('x');
    expect(records).toEqual([]);
  });
});

describe('prices', () => {
  it('the longest matching prefix wins', () => {
    expect(findPrice('claude-opus-4-1-20250805').inputUsdPerMillion).toBe(15);
    expect(findPrice('claude-opus-4-8').inputUsdPerMillion).toBe(5);
    expect(priceUsage('claude-haiku-4-5', { input: 2_000_000, output: 1_000_000 }).costUsd).toBe(7);
  });

  it('an unknown model costs the highest price', () => {
    const highest = Math.max(...defaultPrices.map((price) => price.outputUsdPerMillion));
    expect(findPrice('somebody-elses-model').outputUsdPerMillion).toBe(highest);
  });
});

describe('untrusted text', () => {
  it('is cut between characters', () => {
    const cut = cutMiddle('é'.repeat(1000), 101);
    expect(cut).not.toContain('\ufffd');
    expect(cut).toContain('1900 of 2000 bytes left out');
  });

  it('short text stays as it is', () => {
    expect(cutMiddle('abc', 3)).toBe('abc');
    expect(showInvisible('tab\tline\r\nüñ→😀')).toBe('tab\tline\nüñ→😀');
  });

  it('loses the fence id if it holds it', () => {
    expect(fence('x', 'a END-1 b', 'END-1').match(/END-1/g)).toHaveLength(2);
  });
});
