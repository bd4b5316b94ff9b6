import { type CspReport, cspReportRoute } from '../../../contracts/families/ananta/csp-report.ts';
import { createAdmission } from '../../admission.ts';
import type { Log } from '../../context.ts';
import { type MountedRoute, mount } from '../../mount.ts';

/** Characters of a reported text that are logged. */
const MAX_REPORTED_LENGTH = 200;
/** Reports that one process logs in a minute, whoever sends them; those above are counted only. */
const MAX_LOGGED_REPORTS = 60;
const WINDOW_MS = 60_000;

interface Violation {
  directive: string | undefined;
  blocked: string | undefined;
  page: string | undefined;
}

/** `/api/system/csp-report`. */
export function cspReportRoutes({ log }: { log: Pick<Log, 'warn'> }): MountedRoute[] {
  const lines = createAdmission({ most: MAX_LOGGED_REPORTS, windowMs: WINDOW_MS });
  return [
    mount(cspReportRoute, async ({ body, address, requestId }) => {
      for (const { directive, blocked, page } of violationsOf(body)) {
        const leftOutBefore = lines.admit('all');
        if (leftOutBefore === null) break;
        log.warn({
          event: 'csp_violation',
          requestId,
          address,
          directive: bounded(directive),
          blocked: bounded(withoutQuery(blocked)),
          page: bounded(withoutQuery(page)),
          ...(leftOutBefore > 0 && { leftOutBefore }),
        });
      }
      return { status: 204 };
    }),
  ];
}

function violationsOf(body: CspReport): Violation[] {
  if (Array.isArray(body)) {
    return body.map(({ body: { effectiveDirective, blockedURL, documentURL } }) => {
      return { directive: effectiveDirective, blocked: blockedURL, page: documentURL };
    });
  }
  const report = body['csp-report'];
  return [
    {
      directive: report['effective-directive'] ?? report['violated-directive'],
      blocked: report['blocked-uri'],
      page: report['document-uri'],
    },
  ];
}

/** The address of a page may hold a credential. */
const withoutQuery = (address: string | undefined): string | undefined => address?.split(/[?#]/, 1)[0];

const bounded = (text: string | undefined): string | null => text?.slice(0, MAX_REPORTED_LENGTH) ?? null;
