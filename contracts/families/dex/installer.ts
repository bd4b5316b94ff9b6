/** Installers as dex clients ask for them. */
import { z } from 'zod';
import { createEnrolmentBodySchema } from '../../agents.ts';
import { agentNameSchema, installerErrors, installerReply, serverUrlSchema } from '../../installer.ts';
import { defineRoute } from '../../route.ts';
import { laxBoolean } from './lax.ts';

/** Everything has a default, and so has the body. */
export const dexInstallerBodySchema = z
  .object({
    server_url: serverUrlSchema.or(z.literal('')).nullish().meta({ description: 'Default: PUBLIC_URL' }),
    api_token: z.string().max(4096).nullish().meta({
      description: 'Taken and not used: every package gets an enrolment token of its own',
    }),
    agent_name: agentNameSchema.nullish(),
    tags: createEnrolmentBodySchema.shape.tags.unwrap().nullish(),
    auto_start: laxBoolean().nullish(),
    run_as_service: laxBoolean().nullish(),
    debug: laxBoolean().nullish(),
  })
  .prefault({});
export type DexInstallerBody = z.infer<typeof dexInstallerBodySchema>;

export const dexInstallerConfigSchema = z
  .object({
    server_url: z.string(),
    api_token: z.string().meta({ description: 'Always empty: a package gets a token when it is made' }),
    agent_name: z.string().nullable(),
    tags: z.array(z.string()),
    auto_start: z.boolean(),
    run_as_service: z.boolean(),
    debug: z.boolean(),
  })
  .meta({ id: 'DexInstallerConfig' });

const shared = { family: 'dex', tags: ['dex'], auth: 'user', resource: 'installer' } as const;
const making = {
  ...shared,
  method: 'POST',
  takesIdempotencyKey: true,
  rateClass: 'write',
  verb: 'create',
  body: dexInstallerBodySchema,
  replies: { 200: installerReply },
  errors: installerErrors,
} as const;

export const dexCreateInstallerRoute = defineRoute({
  ...making,
  path: '/api/v1/installer/create',
  summary: 'Make an installer package with the JavaScript agent',
  description:
    'A zip with a PowerShell installer, not an `.exe`: a Windows program cannot be built on this server. The header ' +
    '`X-Installer-Format` says so.',
});

export const dexCreatePythonInstallerRoute = defineRoute({
  ...making,
  path: '/api/v1/installer/create-python',
  summary: 'Make an installer package with the Python agent',
});

export const dexInstallerConfigRoute = defineRoute({
  ...shared,
  method: 'GET',
  path: '/api/v1/installer/config',
  summary: 'What an installer package is made with where nothing is said',
  rateClass: 'read',
  verb: 'read',
  replies: { 200: dexInstallerConfigSchema },
});
