/** Counts what one streamed call uses, also when it ends before the provider has told. */
import { estimateTokens } from './chat-window.ts';
import type { Usage } from './port.ts';
import { type ModelPrice, priceUsage } from './prices.ts';

export interface Tally {
  /** The question is on its way: from here on it counts. */
  asked(estimatedInputTokens: number): void;
  /** The provider refused the question: nothing is charged. */
  refused(): void;
  /** What the provider told, so far. */
  told(tokens: { model?: string; input?: number; output?: number }): void;
  /** More was said. */
  heard(text: string): void;
  /** What was told is all. */
  finished(): void;
  read(): Usage | null;
}

export function createTally(configuredModel: string, prices: readonly ModelPrice[]): Tally {
  let model = configuredModel;
  let input: number | undefined;
  let output = 0;
  let heardTokens = 0;
  let isFinished = false;
  return {
    asked(estimatedInputTokens) {
      input = estimatedInputTokens;
    },
    refused() {
      input = undefined;
    },
    told(tokens) {
      model = tokens.model ?? model;
      input = tokens.input ?? input;
      output = tokens.output ?? output;
    },
    heard(text) {
      heardTokens += estimateTokens(text);
    },
    finished() {
      isFinished = true;
    },
    read() {
      if (input === undefined) return null;
      return priceUsage(
        model,
        { input, output: isFinished ? output : Math.max(output, heardTokens) },
        prices,
      );
    },
  };
}
