/** The machine of the server as dex clients see it. */
import { z } from 'zod';
import { defineRoute } from '../../route.ts';

const shared = { family: 'dex', method: 'GET', tags: ['dex'] } as const;

export const dexSystemInfoSchema = z
  .object({
    hostname: z.string(),
    os_version: z.string(),
    cpu_usage: z.number().meta({ description: 'Percent' }),
    memory_usage: z.number().meta({ description: 'Percent' }),
    disk_usage: z.record(z.string(), z.number()).meta({ description: 'Percent by mount' }),
    version: z.string().meta({ description: 'Of the server' }),
  })
  .meta({ id: 'DexSystemInfo' });

export const dexSystemInfoRoute = defineRoute({
  ...shared,
  path: '/api/v1/system/info',
  summary: 'Describe the machine of the server',
  auth: 'user',
  verb: 'read',
  resource: 'system',
  rateClass: 'read',
  replies: { 200: dexSystemInfoSchema },
});

export const dexSystemHealthRoute = defineRoute({
  ...shared,
  path: '/api/v1/system/health',
  summary: 'Say that the server is healthy',
  auth: 'public',
  rateClass: 'unlimited',
  replies: { 200: z.object({ status: z.literal('healthy'), service: z.literal('DexAgents API') }) },
});
