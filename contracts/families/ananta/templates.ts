/** Templates as ananta's clients know them. */
import { z } from 'zod';
import { defineRoute } from '../../route.ts';
import { settingTextSchema } from '../../settings.ts';
import { MAX_TEMPLATE_LENGTH } from '../../teams.ts';
import { anantaSuccess } from '../ananta.ts';
import { anantaDescriptionField, anantaIdField, anantaNameField } from './teams.ts';

const shared = {
  family: 'ananta',
  tags: ['ananta templates'],
  auth: 'user',
  resource: 'template',
} as const;

const templateSchema = z
  .object({
    id: z.string(),
    name: z.string(),
    description: z.string().nullable(),
    prompt_template: z.string(),
  })
  .meta({ id: 'AnantaTemplate' });

/** With what nobody will fill in. */
const writtenSchema = templateSchema
  .extend({
    warnings: z
      .array(
        z.object({
          type: z.literal('unknown_variables'),
          details: z.string(),
          allowed: z.array(z.string()),
        }),
      )
      .optional(),
  })
  .meta({ id: 'AnantaWrittenTemplate' });

const promptField = settingTextSchema(MAX_TEMPLATE_LENGTH).meta({
  description: 'Words with variables in double braces, as {{task_title}}',
});

export const anantaListTemplatesRoute = defineRoute({
  ...shared,
  method: 'GET',
  path: '/templates',
  summary: 'List the templates',
  rateClass: 'read',
  verb: 'list',
  replies: { 200: anantaSuccess(z.array(templateSchema)) },
});

export const anantaCreateTemplateRoute = defineRoute({
  ...shared,
  method: 'POST',
  path: '/templates',
  summary: 'Make a template',
  description:
    'Variables that nobody fills in are told in `warnings`, or refused where the configuration says so.',
  takesIdempotencyKey: true,
  rateClass: 'write',
  verb: 'create',
  body: z.object({
    name: anantaNameField,
    description: anantaDescriptionField,
    prompt_template: promptField,
  }),
  replies: { 201: anantaSuccess(writtenSchema) },
  errors: [
    'conflict',
    'invalid_request',
    'unknown_template_variables',
    'not_found',
    'idempotency_conflict',
    'service_unavailable',
  ],
  errorTexts: { conflict: { code: 'template_name_exists' } },
});

const one = { params: z.object({ templateId: anantaIdField }) } as const;

const update = {
  ...shared,
  ...one,
  path: '/templates/{templateId}',
  summary: 'Change a template; what is not given stays as it is',
  rateClass: 'write',
  verb: 'update',
  body: z.object({
    name: anantaNameField.optional(),
    description: anantaDescriptionField,
    prompt_template: promptField.optional(),
  }),
  replies: { 200: anantaSuccess(writtenSchema) },
  errors: ['not_found', 'conflict', 'unknown_template_variables'],
  errorTexts: { conflict: { code: 'template_name_exists' } },
} as const;

export const anantaPatchTemplateRoute = defineRoute({ ...update, method: 'PATCH' });
export const anantaPutTemplateRoute = defineRoute({ ...update, method: 'PUT' });

export const anantaDeleteTemplateRoute = defineRoute({
  ...shared,
  ...one,
  method: 'DELETE',
  path: '/templates/{templateId}',
  summary: 'Delete a template; what pointed at it is cleared',
  rateClass: 'write',
  verb: 'delete',
  replies: {
    200: anantaSuccess(
      z.object({
        status: z.literal('deleted'),
        cleared: z.object({
          roles: z.array(z.string()),
          team_type_links: z.array(z.string()),
          team_members: z.array(z.string()),
          teams: z.array(z.string()),
        }),
      }),
    ),
  },
  errors: ['not_found'],
});
