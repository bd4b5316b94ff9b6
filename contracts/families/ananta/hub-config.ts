/** The hub's configuration and its models as ananta's clients know them. */
import { z } from 'zod';
import { defineRoute } from '../../route.ts';
import { anantaSuccess } from '../ananta.ts';

const shared = { family: 'ananta', tags: ['ananta config'], auth: 'user', rateClass: 'read' } as const;

export const anantaGetConfigRoute = defineRoute({
  ...shared,
  method: 'GET',
  path: '/config',
  summary: "Read the hub's configuration, secrets masked",
  verb: 'read',
  resource: 'system',
  replies: { 200: anantaSuccess(z.record(z.string(), z.unknown())) },
});

export const anantaSetConfigRoute = defineRoute({
  ...shared,
  method: 'POST',
  path: '/config',
  summary: "Change the hub's configuration",
  description:
    'Any object. Keys that are not given stay; `llm_config` is merged; null forgets a key. `data`, `status`, `message`, ' +
    '`error` and `code` are ignored. A masked secret that is sent back stays as it is.',
  rateClass: 'write',
  verb: 'update',
  resource: 'setting',
  body: z.unknown(),
  replies: { 200: anantaSuccess(z.object({ status: z.literal('updated') })) },
  errors: ['invalid_request', 'conflict', 'setting_not_found'],
  errorTexts: { malformed_json: { code: 'invalid_json' } },
});

export const anantaProvidersRoute = defineRoute({
  ...shared,
  method: 'GET',
  path: '/providers',
  summary: 'List the language models that may be chosen',
  verb: 'read',
  resource: 'system',
  replies: {
    200: anantaSuccess(
      z.array(
        z.object({
          id: z.string().meta({ description: '`<provider>:<model>`' }),
          name: z.string(),
          selected: z.boolean(),
        }),
      ),
    ),
  },
});

export const anantaModelHistoryRoute = defineRoute({
  ...shared,
  method: 'GET',
  path: '/llm/history',
  summary: 'List the language models that were used in the last 30 days, last used first',
  verb: 'read',
  resource: 'system',
  replies: {
    200: anantaSuccess(
      z.array(
        z.object({
          id: z.string(),
          provider: z.string(),
          model: z.string(),
          calls: z.int(),
          failed_calls: z.int(),
          first_used: z.number().meta({ description: 'Seconds since 1970' }),
          last_used: z.number().meta({ description: 'Seconds since 1970' }),
        }),
      ),
    ),
  },
});
