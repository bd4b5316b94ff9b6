import { problem } from '../../../contracts/errors.ts';
import {
  type DexModelConfig,
  type DexSetting,
  dexDeleteSettingRoute,
  dexGetModelConfigRoute,
  dexGetSettingRoute,
  dexListSettingsRoute,
  dexReloadModelRoute,
  dexSaveApiKeyRoute,
  dexSaveModelConfigRoute,
  dexSaveSettingRoute,
  dexTestModelRoute,
} from '../../../contracts/families/dex/settings.ts';
import type { SettingView } from '../../../contracts/settings.ts';
import type { Actor } from '../../../domain/deps.ts';
import { askModel, reloadModel } from '../../../domain/settings/ask-model.ts';
import type { SettingsDeps } from '../../../domain/settings/port.ts';
import {
  changeSettings,
  getSetting,
  listSettings,
  type SettingChange,
} from '../../../domain/settings/store.ts';
import { type MountedRoute, mount } from '../../mount.ts';
import { isForeignModel, keyOfPlace, modelPlaces, placeOfKey, type SettingPlace } from './setting-keys.ts';

/** `/api/v1/settings` as dex clients know it. */
export function dexSettingRoutes(deps: SettingsDeps): MountedRoute[] {
  const placeOf = (key: string): SettingPlace => {
    const variables = deps.settings.definitions.filter(({ namespace }) => namespace === 'config');
    return placeOfKey(key, new Set(variables.map((variable) => variable.key)));
  };

  return [
    mount(dexListSettingsRoute, async (request) => {
      const settings = await listSettings(deps, request);
      return { status: 200, body: settings.flatMap((setting) => present(setting, keyOfPlace(setting))) };
    }),
    mount(dexSaveSettingRoute, async (request) => {
      const { key, value, description, is_encrypted: isEncrypted } = request.body;
      const place = placeOf(key);
      if (place === modelPlaces.model) assertOwnModel(value);
      // Unencrypted is what clients send without a thought: a secret stays one, and a key that looks like one becomes one.
      const isSecret = place.namespace === 'custom' && isEncrypted ? true : undefined;
      await changeSettings(deps, request, [{ ...place, value, description, isSecret }]);
      return { status: 200, body: await readStored(deps, request, place, key) };
    }),
    mount(dexSaveApiKeyRoute, async (request) => {
      const [value = ''] = Object.values(request.body);
      await changeSettings(deps, request, [{ ...modelPlaces.apiKey, value }]);
      return { status: 200, body: { message: 'Settings updated successfully' } };
    }),
    mount(dexGetSettingRoute, async (request) => {
      const { key } = request.params;
      return { status: 200, body: await readStored(deps, request, placeOf(key), key) };
    }),
    mount(dexDeleteSettingRoute, async (request) => {
      await changeSettings(deps, request, [{ ...placeOf(request.params.key), value: null }]);
      return { status: 200, body: { message: 'Setting deleted successfully' } };
    }),
    ...modelRoutes(deps),
  ];
}

function modelRoutes(deps: SettingsDeps): MountedRoute[] {
  return [
    mount(dexGetModelConfigRoute, async (request) => ({
      status: 200,
      body: await readModelConfig(deps, request),
    })),
    mount(dexSaveModelConfigRoute, async (request) => {
      const {
        api_key: apiKey,
        model,
        max_tokens: maxTokens,
        temperature,
        system_prompt: prompt,
      } = request.body;
      const isForeign = model != null && isForeignModel(model);
      const changes: SettingChange[] = [{ ...modelPlaces.apiKey, value: apiKey }];
      if (model != null && !isForeign) changes.push({ ...modelPlaces.model, value: model });
      if (maxTokens != null) changes.push({ ...modelPlaces.maxTokens, value: String(maxTokens) });
      if (temperature != null) changes.push({ ...modelPlaces.temperature, value: asDecimal(temperature) });
      if (prompt) changes.push({ ...modelPlaces.instructions, value: prompt });
      else if (prompt !== undefined && (await isStored(deps, request, modelPlaces.instructions))) {
        changes.push({ ...modelPlaces.instructions, value: null });
      }
      await changeSettings(deps, request, changes);
      const saved = 'ChatGPT configuration saved successfully';
      if (!isForeign) return { status: 200, body: { message: saved } };
      const { value } = await getSetting(deps, request, 'config', modelPlaces.model.key);
      return {
        status: 200,
        body: { message: `${saved}, but the model stays ${value}: ${model} is not available here` },
      };
    }),
    mount(dexTestModelRoute, async (request) => {
      const { success, message } = await askModel(deps, request, request.signal);
      if (!success) throw problem('model_test_failed', { reason: message });
      return { status: 200, body: { success, message } };
    }),
    mount(dexReloadModelRoute, async (request) => {
      const { hasModel } = await reloadModel(deps, request);
      const message = hasModel
        ? 'AI service reloaded successfully'
        : 'AI service reloaded, but there is no API key: a mock model answers';
      return { status: 200, body: { success: true, available: hasModel, message } };
    }),
  ];
}

/** Only what is stored is a setting to dex clients. @throws setting_not_found */
async function readStored(
  deps: SettingsDeps,
  actor: Actor,
  place: SettingPlace,
  key: string,
): Promise<DexSetting> {
  const [setting] = present(await getSetting(deps, actor, place.namespace, place.key), key);
  if (setting === undefined) throw problem('setting_not_found', { key });
  return setting;
}

const isStored = async (
  deps: SettingsDeps,
  actor: Actor,
  { namespace, key }: SettingPlace,
): Promise<boolean> => (await getSetting(deps, actor, namespace, key)).isStored;

function present(setting: SettingView, key: string): DexSetting[] {
  if (setting.createdAt === null || setting.updatedAt === null) return [];
  return [
    {
      key,
      value: setting.value ?? '',
      description: setting.description,
      is_encrypted: setting.isSecret,
      created_at: setting.createdAt,
      updated_at: setting.updatedAt,
    },
  ];
}

async function readModelConfig(deps: SettingsDeps, actor: Actor): Promise<DexModelConfig> {
  const settings = await listSettings(deps, actor);
  const textOf = ({ namespace, key }: SettingPlace): string | null =>
    settings.find((one) => one.namespace === namespace && one.key === key)?.value ?? null;
  const numberOf = (place: SettingPlace): number | null => {
    const text = textOf(place);
    return text === null ? null : Number(text);
  };
  return {
    api_key: textOf(modelPlaces.apiKey) ?? '',
    model: textOf(modelPlaces.model) ?? '',
    max_tokens: numberOf(modelPlaces.maxTokens),
    temperature: numberOf(modelPlaces.temperature),
    system_prompt: textOf(modelPlaces.instructions),
  };
}

function assertOwnModel(name: string): void {
  if (!isForeignModel(name)) return;
  const message = 'must be a model of Anthropic, such as claude-sonnet-5-5';
  throw problem(
    'validation_failed',
    {},
    { issues: [{ in: 'body', path: ['value'], message, type: 'value_error' }] },
  );
}

/** Without an exponent, which tiny numbers would get. */
const asDecimal = (value: number): string => String(Number(value.toFixed(4)));
