/** Flat keys of dex clients, and where the settings they mean are kept. */
import type { VisibleNamespace } from '../../../contracts/settings.ts';

export interface SettingPlace {
  namespace: VisibleNamespace;
  key: string;
}

const config = (key: string): SettingPlace => ({ namespace: 'config', key });
const model = (key: string): SettingPlace => ({ namespace: 'model', key });

export const modelPlaces = {
  apiKey: config('ANTHROPIC_API_KEY'),
  model: config('ANTHROPIC_MODEL'),
  maxTokens: model('max_tokens'),
  temperature: model('temperature'),
  instructions: model('instructions'),
} as const;

/** Of several keys for one place, the first is the one it is listed under. */
const knownKeys: readonly (readonly [string, SettingPlace])[] = [
  ['chatgpt_api_key', modelPlaces.apiKey],
  ['openai_api_key', modelPlaces.apiKey],
  ['anthropic_api_key', modelPlaces.apiKey],
  ['chatgpt_model', modelPlaces.model],
  ['openai_model', modelPlaces.model],
  ['chatgpt_max_tokens', modelPlaces.maxTokens],
  ['chatgpt_temperature', modelPlaces.temperature],
  ['chatgpt_system_prompt', modelPlaces.instructions],
];

/** @param variables names of the variables that may be overridden: they are keys as they are */
export function placeOfKey(key: string, variables: ReadonlySet<string>): SettingPlace {
  const known = knownKeys.find(([name]) => name === key)?.[1];
  return known ?? { namespace: variables.has(key) ? 'config' : 'custom', key };
}

export function keyOfPlace(place: SettingPlace): string {
  const known = knownKeys.find(
    ([, { namespace, key }]) => namespace === place.namespace && key === place.key,
  );
  return known?.[0] ?? place.key;
}

/** A model of the provider that dex clients were written for, which our provider does not have. */
export const isForeignModel = (name: string): boolean =>
  /^(gpt|chatgpt|o\d|text-|davinci|babbage)/i.test(name.trim());
