/** The audit trail and the shared agent token as administrators among ananta's clients know them. */
import { z } from 'zod';
import { anantaSuccess } from '../ananta.ts';
import { onPaths } from './paths.ts';

/** Entries of one answer unless asked otherwise. */
export const DEFAULT_AUDIT_LIMIT = 100;

const shared = { family: 'ananta', tags: ['ananta audit'], auth: 'user', resource: 'audit' } as const;

export const anantaAuditEntrySchema = z
  .object({
    id: z.int(),
    timestamp: z.number().meta({ description: 'Seconds since 1970' }),
    username: z.string(),
    ip: z.string().nullable(),
    action: z.string(),
    details: z.record(z.string(), z.unknown()),
  })
  .meta({ id: 'AnantaAuditEntry' });

export const anantaAuditLogsRoutes = onPaths(
  {
    ...shared,
    method: 'GET',
    path: '/audit-logs',
    summary: 'Read the audit trail, newest first',
    description:
      'At most 1,000 entries an answer and 10,000 back; the house API reads on by cursor and exports everything.',
    rateClass: 'read',
    verb: 'list',
    query: z.strictObject({
      limit: z.coerce.number().int().min(1).default(DEFAULT_AUDIT_LIMIT),
      offset: z.coerce.number().int().min(0).default(0),
    }),
    replies: { 200: anantaSuccess(z.array(anantaAuditEntrySchema)) },
  },
  '/api/system/audit-logs',
);

export const anantaAnalyzeAuditRoutes = onPaths(
  {
    ...shared,
    method: 'POST',
    path: '/audit/analyze',
    summary: 'What stands out in the audit trail',
    rateClass: 'write',
    verb: 'list',
    replies: { 200: anantaSuccess(z.object({ analysis: z.string() })) },
  },
  '/api/system/audit/analyze',
);

export const anantaRotateTokenRoutes = onPaths(
  {
    family: 'ananta',
    tags: ['ananta system'],
    auth: 'user',
    method: 'POST',
    path: '/api/system/rotate-token',
    summary: 'Replace the shared agent token',
    description:
      'The present token, AGENT_TOKEN included, stops working at once. The new one is shown here and never again.',
    takesIdempotencyKey: true,
    rateClass: 'write',
    verb: 'manage',
    resource: 'system',
    replies: {
      200: anantaSuccess(z.object({ status: z.literal('rotated'), new_token: z.string() })),
    },
  },
  '/rotate-token',
);
