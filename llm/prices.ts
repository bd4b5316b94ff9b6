import type { Usage } from './port.ts';

/** Prices of one model family in US dollars per million tokens. */
export interface ModelPrice {
  /** Start of the model's name; the longest matching start wins. */
  prefix: string;
  inputUsdPerMillion: number;
  outputUsdPerMillion: number;
}

/**
 * Approximate list prices of Claude families, for budgets and reports; the provider's invoice is the truth.
 * Source: the provider's public price page, 2026. Give `createAnthropicPort` another table where they differ.
 */
export const defaultPrices: readonly ModelPrice[] = [
  { prefix: 'claude-mythos', inputUsdPerMillion: 10, outputUsdPerMillion: 50 },
  { prefix: 'claude-fable', inputUsdPerMillion: 10, outputUsdPerMillion: 50 },
  { prefix: 'claude-opus', inputUsdPerMillion: 5, outputUsdPerMillion: 25 },
  { prefix: 'claude-opus-4-0', inputUsdPerMillion: 15, outputUsdPerMillion: 75 },
  { prefix: 'claude-opus-4-1', inputUsdPerMillion: 15, outputUsdPerMillion: 75 },
  { prefix: 'claude-sonnet', inputUsdPerMillion: 3, outputUsdPerMillion: 15 },
  { prefix: 'claude-haiku', inputUsdPerMillion: 1, outputUsdPerMillion: 5 },
];

const tokensPerMillion = 1_000_000;

/** Finds the price of a model. An unknown model costs the highest price of the table, so no budget is overrun. */
export function findPrice(model: string, prices: readonly ModelPrice[] = defaultPrices): ModelPrice {
  let best: ModelPrice | undefined;
  for (const price of prices) {
    if (model.startsWith(price.prefix) && price.prefix.length >= (best?.prefix.length ?? 0)) best = price;
  }
  return (
    best ?? {
      prefix: '',
      inputUsdPerMillion: Math.max(0, ...prices.map((price) => price.inputUsdPerMillion)),
      outputUsdPerMillion: Math.max(0, ...prices.map((price) => price.outputUsdPerMillion)),
    }
  );
}

/** Counts and prices one answer of a real model. Tokens read from or written to a cache count as input. */
export function priceUsage(
  model: string,
  tokens: { input: number; output: number },
  prices: readonly ModelPrice[] = defaultPrices,
): Usage {
  const price = findPrice(model, prices);
  const costUsd =
    (tokens.input * price.inputUsdPerMillion + tokens.output * price.outputUsdPerMillion) / tokensPerMillion;
  return { model, inputTokens: tokens.input, outputTokens: tokens.output, costUsd, mock: false };
}
