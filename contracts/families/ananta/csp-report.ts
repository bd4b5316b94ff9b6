/** What browsers report of pages that tried to do more than the Content-Security-Policy of our answers lets them. */
import { z } from 'zod';
import { defineRoute, empty } from '../../route.ts';

/** Reports of one request that are looked at. */
export const MAX_CSP_REPORTS = 10;

const text = z.string().optional().catch(undefined);

/** Browsers add and leave out what they like; what is no text counts as absent. */
const violationSchema = z.object({
  'document-uri': text,
  'violated-directive': text,
  'effective-directive': text,
  'blocked-uri': text,
});

/** The same by its newer names (Reporting API). */
const reportSchema = z.object({
  body: z.object({ documentURL: text, effectiveDirective: text, blockedURL: text }),
});

const cspReportSchema = z.union([
  z.object({ 'csp-report': violationSchema }),
  z.array(reportSchema).max(MAX_CSP_REPORTS),
]);
export type CspReport = z.infer<typeof cspReportSchema>;

export const cspReportRoute = defineRoute({
  family: 'ananta',
  tags: ['ananta system'],
  method: 'POST',
  path: '/api/system/csp-report',
  summary: 'Take a report of a violated Content-Security-Policy',
  description: 'Named by that header and sent by browsers on their own. It is logged, and nothing else.',
  rateClass: 'report',
  auth: 'public',
  bodyTypes: ['report', 'json'],
  body: cspReportSchema,
  replies: { 204: empty() },
});
