/** Settings as dex clients know them: one flat list of keys, a view of the namespaces of `contracts/settings.ts`. */
import { z } from 'zod';
import { defineRoute } from '../../route.ts';
import {
  MAX_SETTING_DESCRIPTION_LENGTH,
  MAX_SETTING_LENGTH,
  SECRET_MASK,
  settingKeySchema,
  settingTextSchema,
} from '../../settings.ts';
import { timeSchema } from '../../shared.ts';
import { laxBoolean, laxFloat, laxInt } from './lax.ts';

/** Longest API key and model name, characters. */
const MAX_NAME_LENGTH = 512;

export const dexSettingSchema = z
  .object({
    key: z.string(),
    value: z.string().meta({ description: `Of a secret: ${SECRET_MASK}` }),
    description: z.string().nullable(),
    is_encrypted: z.boolean(),
    created_at: timeSchema,
    updated_at: timeSchema,
  })
  .meta({ id: 'DexSetting' });
export type DexSetting = z.infer<typeof dexSettingSchema>;

const messageSchema = z.object({ message: z.string() });

/** What clients have read and send back; the server's own, so it goes nowhere. */
const readOnly = z.unknown().optional().meta({ description: 'Ignored: the server knows' });

export const dexSettingBodySchema = z.strictObject({
  key: settingKeySchema,
  value: settingTextSchema(MAX_SETTING_LENGTH),
  description: settingTextSchema(MAX_SETTING_DESCRIPTION_LENGTH).nullable().optional(),
  is_encrypted: laxBoolean().default(false),
  created_at: readOnly,
  updated_at: readOnly,
});

const apiKeySchema = settingTextSchema(MAX_NAME_LENGTH).min(1);

export const dexApiKeyBodySchema = z
  .strictObject({
    openai_api_key: apiKeySchema.optional(),
    chatgpt_api_key: apiKeySchema.optional(),
    anthropic_api_key: apiKeySchema.optional(),
  })
  .refine((body) => Object.keys(body).length === 1, { error: 'must name one API key' });

/** What is not given, or null, stays as it is; a prompt that is null or empty ends. */
export const dexModelConfigBodySchema = z.strictObject({
  api_key: apiKeySchema.meta({ description: `${SECRET_MASK} keeps the present one` }),
  model: settingTextSchema(MAX_NAME_LENGTH).min(1).nullish(),
  max_tokens: laxInt(z.int().min(1)).nullish(),
  temperature: laxFloat(z.number().min(0).max(2)).nullish(),
  system_prompt: settingTextSchema(MAX_SETTING_LENGTH).nullable().optional(),
});

export const dexModelConfigSchema = z
  .object({
    api_key: z.string().meta({ description: `${SECRET_MASK}, or empty where there is none` }),
    model: z.string(),
    max_tokens: z.int().nullable(),
    temperature: z.number().nullable(),
    system_prompt: z.string().nullable(),
  })
  .meta({ id: 'DexModelConfig' });
export type DexModelConfig = z.infer<typeof dexModelConfigSchema>;

const shared = { family: 'dex', tags: ['dex'], auth: 'user', resource: 'setting' } as const;
const params = z.object({ key: settingKeySchema });

export const dexListSettingsRoute = defineRoute({
  ...shared,
  method: 'GET',
  path: '/api/v1/settings',
  summary: 'List the settings that are stored',
  rateClass: 'read',
  verb: 'list',
  replies: { 200: z.array(dexSettingSchema) },
});

export const dexSaveSettingRoute = defineRoute({
  ...shared,
  method: 'POST',
  path: '/api/v1/settings',
  summary: 'Store a setting',
  rateClass: 'write',
  verb: 'update',
  body: dexSettingBodySchema,
  replies: { 200: dexSettingSchema },
  errors: ['conflict'],
});

export const dexSaveApiKeyRoute = defineRoute({
  ...shared,
  method: 'PUT',
  path: '/api/v1/settings',
  summary: 'Store the API key of the language model',
  rateClass: 'write',
  verb: 'update',
  body: dexApiKeyBodySchema,
  replies: { 200: messageSchema },
});

export const dexGetSettingRoute = defineRoute({
  ...shared,
  method: 'GET',
  path: '/api/v1/settings/{key}',
  summary: 'Read a stored setting',
  rateClass: 'read',
  verb: 'read',
  params,
  replies: { 200: dexSettingSchema },
  errors: ['setting_not_found'],
});

export const dexDeleteSettingRoute = defineRoute({
  ...shared,
  method: 'DELETE',
  path: '/api/v1/settings/{key}',
  summary: 'Forget a stored setting',
  rateClass: 'write',
  verb: 'delete',
  params,
  replies: { 200: messageSchema },
  errors: ['setting_not_found'],
});

export const dexGetModelConfigRoute = defineRoute({
  ...shared,
  method: 'GET',
  path: '/api/v1/settings/chatgpt/config',
  summary: 'How the language model is asked',
  rateClass: 'read',
  verb: 'read',
  replies: { 200: dexModelConfigSchema },
});

export const dexSaveModelConfigRoute = defineRoute({
  ...shared,
  method: 'POST',
  path: '/api/v1/settings/chatgpt/config',
  summary: 'Set how the language model is asked',
  description: 'The model is Claude: a model name of another provider is left out, and the message says so.',
  rateClass: 'write',
  verb: 'update',
  body: dexModelConfigBodySchema,
  replies: { 200: messageSchema },
});

export const dexTestModelRoute = defineRoute({
  ...shared,
  method: 'POST',
  path: '/api/v1/settings/chatgpt/test',
  summary: 'Ask the language model one small question',
  rateClass: 'model',
  verb: 'update',
  replies: { 200: z.object({ success: z.literal(true), message: z.string() }) },
  errors: ['model_test_failed'],
});

export const dexReloadModelRoute = defineRoute({
  ...shared,
  method: 'POST',
  path: '/api/v1/settings/reload-ai-service',
  summary: 'Take up the stored settings of the language model now, in every process',
  rateClass: 'write',
  verb: 'update',
  replies: {
    200: z.object({
      success: z.boolean(),
      available: z.boolean().meta({ description: 'false: there is no API key, a mock answers' }),
      message: z.string(),
    }),
  },
});
