/** Banned addresses and locked accounts, as the house API speaks of them. */
import { z } from 'zod';
import { defineRoute, empty } from './route.ts';
import { pageOf, pageQuery, timeSchema } from './shared.ts';

/** Longest address that is looked at, characters. */
const MAX_ADDRESS_LENGTH = 64;

export const banSchema = z
  .object({
    address: z.string().meta({ description: 'An IPv4 address, or the first one of an IPv6 network' }),
    prefixLength: z.int().meta({ description: 'Leading bits that are meant: 32 for IPv4, 64 for IPv6' }),
    failures: z.int().meta({ description: 'Failed attempts of the hour that led to the ban' }),
    bannedAt: timeSchema,
    expiresAt: timeSchema,
  })
  .meta({ id: 'Ban' });
export type BanView = z.infer<typeof banSchema>;

const shared = { family: 'house', tags: ['users'], auth: 'user' } as const;

export const listBansRoute = defineRoute({
  ...shared,
  method: 'GET',
  path: '/v1/bans',
  summary: 'List banned addresses, newest first',
  description: 'From these nobody can log in, refresh or register until the ban expires or is lifted.',
  rateClass: 'read',
  verb: 'list',
  resource: 'ban',
  query: z.strictObject(pageQuery),
  replies: { 200: pageOf(banSchema) },
  errors: ['invalid_cursor'],
});

export const liftBanRoute = defineRoute({
  ...shared,
  method: 'DELETE',
  path: '/v1/bans/{address}',
  summary: 'Lift the ban of an address or of its network',
  rateClass: 'write',
  verb: 'delete',
  resource: 'ban',
  params: z.object({ address: z.string().min(1).max(MAX_ADDRESS_LENGTH) }),
  replies: { 204: empty() },
  errors: ['ban_not_found'],
});

export const unlockUserRoute = defineRoute({
  ...shared,
  method: 'POST',
  path: '/v1/users/{id}/unlock',
  summary: 'Lift the lock-out of an account',
  description: 'Its failed logins are forgotten, wherever they came from.',
  rateClass: 'write',
  verb: 'update',
  resource: 'user',
  params: z.object({ id: z.uuid() }),
  replies: { 204: empty() },
  errors: ['user_not_found'],
});
