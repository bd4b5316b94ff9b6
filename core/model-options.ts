import type { ModelSettings } from './running-config.ts';

/** What every adapter of Claude is given; what is not set is left out, so that the adapter's own default holds. */
export function modelOptions(settings: ModelSettings, apiKey: string) {
  const { model, baseUrl, maxTokens, temperature, instructions } = settings;
  return {
    apiKey,
    model,
    baseUrl,
    ...(maxTokens !== null && { maxTokens }),
    ...(temperature !== null && { temperature }),
    ...(instructions !== null && { instructions }),
  };
}
