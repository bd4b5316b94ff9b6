/** The audit trail as the house API reads it. */
import { z } from 'zod';
import { bytes, defineRoute } from './route.ts';
import { actorRefSchema, pageOf, pageQuery, timeSchema } from './shared.ts';

/** Media type of lines of JSON. */
export const JSON_LINES_TYPE = 'application/x-ndjson';

const filterQuery = {
  from: timeSchema.optional().meta({ description: 'From this time on' }),
  to: timeSchema.optional().meta({ description: 'Before this time' }),
  principal: z.string().min(1).max(255).optional().meta({ description: 'Id or name of who did it' }),
  action: z
    .string()
    .regex(/^[a-z_]+(\.[a-z_]*)?$/)
    .max(64)
    .optional()
    .meta({ description: 'An action, or the beginning of some when it ends with a dot: `auth.`' }),
  targetKind: z.string().min(1).max(64).optional(),
  targetId: z.string().min(1).max(512).optional(),
  outcome: z.enum(['success', 'denied', 'failed']).optional(),
  address: z.string().min(1).max(64).optional(),
  requestId: z.string().min(1).max(128).optional(),
};

export const auditListQuerySchema = z.strictObject({ ...filterQuery, ...pageQuery });
export type AuditListQuery = z.infer<typeof auditListQuerySchema>;

export const auditExportQuerySchema = z.strictObject({
  ...filterQuery,
  afterSeal: z.coerce.number().int().min(0).max(Number.MAX_SAFE_INTEGER).default(0).meta({
    description: 'Only rows of later seals, and unsealed ones: goes on where an earlier export ended',
  }),
});
export type AuditExportQuery = z.infer<typeof auditExportQuerySchema>;

export const auditEventSchema = z
  .object({
    id: z.string(),
    at: timeSchema,
    principal: actorRefSchema,
    sessionId: z.string().nullable(),
    address: z.string().nullable(),
    requestId: z.string().nullable(),
    action: z.string(),
    target: z.object({ kind: z.string(), id: z.string() }),
    outcome: z.enum(['success', 'denied', 'failed']),
    details: z.record(z.string(), z.unknown()),
    seal: z
      .object({ no: z.int(), position: z.int() })
      .nullable()
      .meta({ description: 'Number of the seal and place in it from 1; null for about two seconds' }),
  })
  .meta({ id: 'AuditEvent' });
export type AuditEventView = z.infer<typeof auditEventSchema>;

/** One line of an export: every column as it was hashed, with all that is needed to check its seal elsewhere. */
export const auditExportLineSchema = z
  .object({
    id: z.string(),
    xid: z.string(),
    at: z.string(),
    principalKind: z.string(),
    principalId: z.string(),
    principalName: z.string(),
    sessionId: z.string().nullable(),
    address: z.string().nullable(),
    requestId: z.string().nullable(),
    action: z.string(),
    targetKind: z.string(),
    targetId: z.string(),
    outcome: z.string(),
    details: z.record(z.string(), z.unknown()),
    seal: z
      .object({
        no: z.int(),
        position: z.int(),
        rowCount: z.int(),
        previousHash: z.string(),
        hash: z.string(),
      })
      .nullable(),
  })
  .meta({ id: 'AuditExportLine' });
export type AuditExportLine = z.infer<typeof auditExportLineSchema>;

const shared = { family: 'house', tags: ['audit'], auth: 'user', resource: 'audit' } as const;

export const listAuditRoute = defineRoute({
  ...shared,
  method: 'GET',
  path: '/v1/audit',
  summary: 'Read the audit trail, newest first',
  description: 'The actions are listed in docs/reference/audit.md. Name a time span with rare filters.',
  rateClass: 'read',
  verb: 'list',
  query: auditListQuerySchema,
  replies: { 200: pageOf(auditEventSchema) },
  errors: ['invalid_cursor'],
});

export const exportAuditRoute = defineRoute({
  ...shared,
  method: 'GET',
  path: '/v1/audit/export',
  summary: 'Download the audit trail as lines of JSON, oldest first',
  description:
    'In the order of the seals, each row with its seal; rows not sealed yet come last with `seal: null`. Without ' +
    'filters, `steelthread audit verify --file` checks the download without this server. The download is audited.',
  rateClass: 'read',
  verb: 'read',
  query: auditExportQuerySchema,
  replies: {
    200: bytes(JSON_LINES_TYPE, {
      headers: { 'Content-Disposition': 'A name for the file' },
      description: 'One AuditExportLine per line',
    }),
  },
});
