import { z } from 'zod';
import { anantaHealthDataSchema } from '../../contracts/families/ananta/system.ts';
import { anantaSuccess } from '../../contracts/families/ananta.ts';
import { defineRoute } from '../../contracts/route.ts';
import { type MountedRoute, mount } from '../mount.ts';
import type { Checks } from '../readiness.ts';
import { type HubChecks, readHealth } from './ananta/probes.ts';

const open = { method: 'GET', auth: 'public', rateClass: 'unlimited', tags: ['service'] } as const;

const steelRoot = defineRoute({
  ...open,
  family: 'steel',
  profile: 'steel',
  path: '/',
  summary: 'Say that the server runs',
  replies: { 200: z.object({ message: z.literal('Orchestrator API is running') }) },
});

const steelHealth = defineRoute({
  ...open,
  family: 'steel',
  profile: 'steel',
  path: '/health',
  summary: 'Say that the server is healthy',
  replies: { 200: z.object({ status: z.literal('healthy') }) },
});

const dexRoot = defineRoute({
  ...open,
  family: 'dex',
  profile: 'dex',
  path: '/',
  summary: 'Name the API and its documentation',
  replies: { 200: z.object({ message: z.literal('DexAgents API'), version: z.string(), docs: z.string() }) },
});

const dexHealth = defineRoute({
  ...open,
  family: 'dex',
  profile: 'dex',
  path: '/health',
  summary: 'Say that the server is healthy',
  replies: { 200: z.object({ status: z.literal('healthy'), service: z.literal('DexAgents API') }) },
});

const anantaHealth = defineRoute({
  ...open,
  family: 'ananta',
  profile: 'ananta',
  path: '/health',
  summary: 'Tell the state of the hub and of what it needs',
  replies: { 200: anantaSuccess(anantaHealthDataSchema) },
});

interface ProfileRouteDeps {
  /** Name under which the hub answers. */
  name: string;
  version: string;
  checks: Checks;
  hubChecks?: HubChecks | undefined;
}

/** The routes on which listeners differ. ananta has no `/`. */
export function profileRoutes({ name, version, checks, hubChecks }: ProfileRouteDeps): MountedRoute[] {
  return [
    mount(steelRoot, async () => ({ status: 200, body: { message: 'Orchestrator API is running' } })),
    mount(steelHealth, async () => ({ status: 200, body: { status: 'healthy' } })),
    mount(dexRoot, async () => ({ status: 200, body: { message: 'DexAgents API', version, docs: '/docs' } })),
    mount(dexHealth, async () => ({ status: 200, body: { status: 'healthy', service: 'DexAgents API' } })),
    mount(anantaHealth, async () => ({
      status: 200,
      body: { status: 'success', data: await readHealth({ name, checks, hubChecks }) },
    })),
  ];
}
