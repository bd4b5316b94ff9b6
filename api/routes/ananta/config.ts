import {
  anantaGetConfigRoute,
  anantaModelHistoryRoute,
  anantaProvidersRoute,
  anantaSetConfigRoute,
} from '../../../contracts/families/ananta/hub-config.ts';
import { readHubConfig, updateHubConfigAndSettings } from '../../../domain/hub-config/store.ts';
import { findModelInForce, listModels, listUsedModels } from '../../../domain/settings/models.ts';
import type { SettingsDeps } from '../../../domain/settings/port.ts';
import type { SettingChange } from '../../../domain/settings/store.ts';
import { type MountedRoute, mount } from '../../mount.ts';
import { success } from './envelope.ts';

/** `/config`, `/providers`, `/llm/history`. */
export function anantaConfigRoutes(deps: SettingsDeps): MountedRoute[] {
  return [
    mount(anantaGetConfigRoute, async (request) => {
      const config = await readHubConfig(deps, request);
      // What is in force, where nobody has said otherwise.
      const inForce = {
        default_provider: deps.settings.hasModel() ? 'anthropic' : 'mock',
        default_model: await findModelInForce(deps),
      };
      return { status: 200, body: success({ ...inForce, ...config }) };
    }),
    mount(anantaSetConfigRoute, async (request) => {
      await updateHubConfigAndSettings(deps, request, request.body, modelChangesIn(request.body));
      return { status: 200, body: success({ status: 'updated' as const }) };
    }),
    mount(anantaProvidersRoute, async (request) => {
      const models = await listModels(deps, request);
      const data = models.map(({ provider, model, isSelected }) => ({
        id: `${provider}:${model}`,
        name: `${model} (${provider})`,
        selected: isSelected,
      }));
      return { status: 200, body: success(data) };
    }),
    mount(anantaModelHistoryRoute, async (request) => {
      const used = await listUsedModels(deps, request);
      const data = used.map((row) => {
        const provider = row.mock ? 'mock' : 'anthropic';
        return {
          id: `${provider}:${row.model}`,
          provider,
          model: row.model,
          calls: row.calls,
          failed_calls: row.failedCalls,
          first_used: row.firstUsedAt.getTime() / 1000,
          last_used: row.lastUsedAt.getTime() / 1000,
        };
      });
      return { status: 200, body: success(data) };
    }),
  ];
}

/**
 * What these clients say of the model is taken up where it names one of ours; the words themselves are kept either way.
 * A model of another provider changes nothing.
 */
function modelChangesIn(body: unknown): SettingChange[] {
  const top = membersOf(body);
  const nested = membersOf(top.llm_config);
  const model = [nested.model, top.default_model].find(isOwnModel);
  const apiKey = [nested.api_key, top.anthropic_api_key].find(isOwnKey);
  const changes: SettingChange[] = [];
  if (model !== undefined) changes.push({ namespace: 'config', key: 'ANTHROPIC_MODEL', value: model });
  if (apiKey !== undefined) changes.push({ namespace: 'config', key: 'ANTHROPIC_API_KEY', value: apiKey });
  return changes;
}

const membersOf = (value: unknown): Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value) ? { ...value } : {};

const isOwnModel = (name: unknown): name is string => typeof name === 'string' && name.startsWith('claude-');
const isOwnKey = (key: unknown): key is string => typeof key === 'string' && key.startsWith('sk-ant-');
