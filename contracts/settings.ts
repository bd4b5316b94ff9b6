/** Settings that administrators change at run time, as the house API speaks of them. */
import { z } from 'zod';
import { defineRoute, empty } from './route.ts';
import { timeSchema } from './shared.ts';

/** Longest value of a setting, characters. */
export const MAX_SETTING_LENGTH = 16_384;
/** Longest description, characters. */
export const MAX_SETTING_DESCRIPTION_LENGTH = 500;
/** Settings a client may add beside those the server knows. */
export const MAX_CUSTOM_SETTINGS = 1_000;
/** What stands in the place of a secret. Written back, it leaves the secret as it is. */
export const SECRET_MASK = '*'.repeat(20);

/**
 * `config`: the variables of the environment that may be overridden, under their names. `model`: how the language model is
 * asked. `custom`: whatever clients keep here; nothing reads it.
 */
export const settingNamespaces = ['config', 'model', 'custom'] as const;
export type VisibleNamespace = (typeof settingNamespaces)[number];

export const settingKeySchema = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$/, {
  error: 'must begin with a letter or digit and hold up to 128 letters, digits, dots, colons, _ and -',
});

export const settingSchema = z
  .object({
    namespace: z.enum(settingNamespaces),
    key: z.string(),
    value: z
      .string()
      .nullable()
      .meta({ description: `What is in force, as text; null: nothing. Of a secret: ${SECRET_MASK}` }),
    isSecret: z.boolean(),
    isStored: z.boolean().meta({ description: 'false: the value comes from the environment or a default' }),
    description: z.string().nullable(),
    unit: z.string().nullable(),
    createdAt: timeSchema.nullable(),
    updatedAt: timeSchema.nullable(),
    updatedBy: z.string().nullable(),
  })
  .meta({ id: 'Setting' });
export type SettingView = z.infer<typeof settingSchema>;

/** PostgreSQL text holds no NUL. */
export const settingTextSchema = (maxLength: number) =>
  z
    .string()
    .max(maxLength)
    .refine((text) => !text.includes('\u0000'), { error: 'must not hold a NUL character' });

export const putSettingBodySchema = z.strictObject({
  value: settingTextSchema(MAX_SETTING_LENGTH)
    .min(1)
    .meta({
      description: `As text, in the unit of the setting. ${SECRET_MASK} keeps a secret that is stored`,
    }),
  description: settingTextSchema(MAX_SETTING_DESCRIPTION_LENGTH).nullable().optional(),
  isSecret: z
    .boolean()
    .optional()
    .meta({ description: 'Only in `custom`: keep it encrypted and never show it again' }),
});

const shared = { family: 'house', tags: ['settings'], auth: 'user', resource: 'setting' } as const;
const params = z.object({ namespace: z.enum(settingNamespaces), key: settingKeySchema });

export const listSettingsRoute = defineRoute({
  ...shared,
  method: 'GET',
  path: '/v1/settings',
  summary: 'List settings with the values in force',
  rateClass: 'read',
  verb: 'list',
  replies: { 200: z.object({ items: z.array(settingSchema) }) },
});

export const getSettingRoute = defineRoute({
  ...shared,
  method: 'GET',
  path: '/v1/settings/{namespace}/{key}',
  summary: 'Read a setting',
  rateClass: 'read',
  verb: 'read',
  params,
  replies: { 200: settingSchema },
  errors: ['setting_not_found'],
});

export const putSettingRoute = defineRoute({
  ...shared,
  method: 'PUT',
  path: '/v1/settings/{namespace}/{key}',
  summary: 'Set a setting',
  description: 'Every process takes it up within 5 seconds, usually at once.',
  rateClass: 'write',
  verb: 'update',
  params,
  body: putSettingBodySchema,
  replies: { 200: settingSchema },
  errors: ['setting_not_found', 'conflict'],
});

export const deleteSettingRoute = defineRoute({
  ...shared,
  method: 'DELETE',
  path: '/v1/settings/{namespace}/{key}',
  summary: 'Forget a stored setting; the environment or the default applies again',
  rateClass: 'write',
  verb: 'delete',
  params,
  replies: { 204: empty() },
  errors: ['setting_not_found'],
});

export const modelTestSchema = z
  .object({
    success: z.boolean(),
    message: z.string().meta({ description: 'What the provider said, or that it answered' }),
    model: z.string(),
  })
  .meta({ id: 'ModelTest' });
export type ModelTest = z.infer<typeof modelTestSchema>;

export const testModelRoute = defineRoute({
  ...shared,
  method: 'POST',
  path: '/v1/settings/model/test',
  summary: 'Ask the language model one small question with the settings in force',
  rateClass: 'model',
  verb: 'update',
  replies: { 200: modelTestSchema },
});

export const rotateSharedTokenRoute = defineRoute({
  family: 'house',
  tags: ['system'],
  auth: 'user',
  method: 'POST',
  path: '/v1/system/agent-token/rotate',
  summary: 'Replace the shared agent token (AGENT_TOKEN)',
  description:
    'The old one stops working at once. The new one is shown once and stays in force until AGENT_TOKEN gets another value.',
  takesIdempotencyKey: true,
  rateClass: 'write',
  verb: 'manage',
  resource: 'system',
  replies: { 200: z.object({ agentToken: z.string() }) },
  errors: ['conflict'],
});
