/**
 * The language model of these tests: a real server that speaks the provider's protocol and follows the plan that was
 * registered for a task. It keeps no state between calls, so a call that is lost and asked again gets the same answer.
 */
import type { StubAnswer, StubRequestBody } from '../support/llm-stub.ts';
import { type LlmStub, startLlmStub } from '../support/llm-stub.ts';

export interface Model {
  stub: LlmStub;
  env: Record<string, string>;
  /** The goal to give to a task that shall run these commands, one a step, and then be done. */
  plan(name: string, commands: readonly string[]): string;
  /** Calls for a task so far. */
  calls(name: string): number;
  close(): Promise<void>;
}

/** @param url where the worker calls the model, when not the server itself (a gate before it) */
export async function startModel(): Promise<Model> {
  const stub = await startLlmStub();
  const plans = new Map<string, readonly string[]>();
  const calls = new Map<string, number>();

  const answer = (body: StubRequestBody): StubAnswer => {
    stub.enqueue(answer); // there is always one more
    const text = body.messages.map((message) => message.content).join('\n');
    const name = /chaos plan <([^>]+)>/.exec(text)?.[1] ?? '';
    const step = Number(/This is step (\d+) of/.exec(text)?.[1] ?? 0);
    calls.set(name, (calls.get(name) ?? 0) + 1);
    const command = plans.get(name)?.[step - 1];
    return command === undefined
      ? { type: 'done', success: true, summary: `${name} is done` }
      : { type: 'command', command };
  };
  stub.enqueue(answer);

  return {
    stub,
    env: { ANTHROPIC_API_KEY: 'test-key', ANTHROPIC_BASE_URL: stub.url },
    plan(name, commands) {
      plans.set(name, commands);
      return `chaos plan <${name}>`;
    },
    calls: (name) => calls.get(name) ?? 0,
    close: () => stub.close(),
  };
}
