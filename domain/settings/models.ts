/** Which language models there are to choose from, and which were used. */
import { listUsedModels as listUsedRows, type UsedModelRow } from '../../db/llm-calls.ts';
import { findSetting } from '../../db/settings.ts';
import type { Actor } from '../deps.ts';
import { assertCan } from '../policy.ts';
import type { SettingsDeps } from './port.ts';

/** How far back the models that were used are looked for, days. */
export const MODEL_HISTORY_DAYS = 30;

export interface ModelChoice {
  provider: 'anthropic' | 'mock';
  model: string;
  isSelected: boolean;
}

/** The model in force, and others that were used here lately. @throws forbidden */
export async function listModels(deps: SettingsDeps, actor: Actor): Promise<ModelChoice[]> {
  const used = await listUsedModels(deps, actor);
  const inForce = await findModelInForce(deps);
  const hasModel = deps.settings.hasModel();
  const names = [inForce, ...used.filter(({ mock }) => !mock).map(({ model }) => model)];
  const choices: ModelChoice[] = [...new Set(names)]
    .filter((name) => name !== null)
    .map((model) => ({ provider: 'anthropic', model, isSelected: hasModel && model === inForce }));
  return hasModel ? choices : [{ provider: 'mock', model: 'mock', isSelected: true }, ...choices];
}

/** Last used first. @throws forbidden */
export function listUsedModels(deps: SettingsDeps, actor: Actor): Promise<UsedModelRow[]> {
  assertCan(actor.principal, 'read', 'system');
  return listUsedRows(deps.db, MODEL_HISTORY_DAYS);
}

/** Its name, from the settings or the environment. */
export async function findModelInForce(deps: SettingsDeps): Promise<string | null> {
  const row = await findSetting(deps.db, 'config', 'ANTHROPIC_MODEL');
  if (row !== undefined && !row.isEncrypted) return row.value;
  return deps.settings.definitions.find(({ key }) => key === 'ANTHROPIC_MODEL')?.configured ?? null;
}
